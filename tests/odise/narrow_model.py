"""The narrow random ODISE whose numbers were recorded, built from this library's parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.backbones.pyramid import PyramidProjection, Tap
from modise_lightning.captioners.implicit import ImplicitCaptioner
from modise_lightning.classifiers.text_similarity import TextSimilarityClassifier
from modise_lightning.mask_generator.mask2former import Mask2FormerMaskGenerator
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import Conditioning, ConditioningShape, FeaturePyramid

# Channels and levels of the taps in this library's order, and their places in ODISE's.
TAPS = (
    Tap(128, "s2"),
    Tap(128, "s3"),
    Tap(128, "s3"),
    Tap(128, "s2"),
    Tap(256, "s5"),
    Tap(192, "s5"),
    Tap(96, "s4"),
    Tap(64, "s3"),
)
ODISES_ORDER = (0, 1, 6, 7, 2, 3, 4, 5)
IMAGE_SIZE = 256
EMBEDDING = 48
PROMPT_CATEGORIES = torch.tensor([0, 0, 1, 1, 1, 2])
ISTHING = [True, True, False]


class NarrowBackbone(Backbone):
    """The projections of given taps; there is no diffusion model."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = PyramidProjection(
            taps=TAPS, channels=128, bottleneck_channels=32, normalization_groups=32, identity_shortcut=True
        )
        self.feature_channels = (128,) * 4
        self.window_size = IMAGE_SIZE
        self.conditioning_shape = ConditioningShape(77, 64, 128, 1)
        self.learning_rate_multiplier = 1.0

    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        raise NotImplementedError("the taps are recorded")


class NoTower(nn.Module):
    """In the place of an image encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding_dim = EMBEDDING
        self.preprocessing: dict[str, object] = {}


def build(state: dict[str, Tensor], text_embeddings: Tensor) -> Segmenter:
    """Build it with trained weights by this library's names; every one has to have its home."""
    backbone = NarrowBackbone()
    shape = backbone.conditioning_shape
    assert shape is not None
    segmenter = Segmenter(
        backbone=backbone,
        captioner=ImplicitCaptioner(image_encoder=NoTower(), shape=shape),  # type: ignore[arg-type]
        mask_generator=Mask2FormerMaskGenerator(
            feature_channels=backbone.feature_channels,
            hidden_channels=64,
            num_queries=40,
            num_heads=8,
            pixel_decoder_layers=6,
            pixel_decoder_feedforward=96,
            decoder_layers=9,
            decoder_feedforward=128,
            pre_norm=False,
            dropout=0.0,
            initialization="original",
            full_precision_pixel_decoder=True,
            weights="random",
            repository="",
            files=[],
        ),
        classifier=TextSimilarityClassifier(
            text_embeddings=text_embeddings,
            prompt_categories=PROMPT_CATEGORIES,
            null_embedding=torch.zeros(EMBEDDING),
            hidden_channels=64,
            mask_embedding_channels=64,
            num_layers=3,
            temperature=0.07,
            maximum_scale=100.0,
        ),
    )
    missing, unexpected = segmenter.load_state_dict(state, strict=False)
    assert not unexpected
    assert sorted(missing) == ["classifier.prompt_categories", "classifier.text_embeddings"]
    return segmenter
