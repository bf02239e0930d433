"""A Swin transformer as a trained backbone (Liu et al. 2021; the one of Mask2Former)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import SwinBackbone as TransformersSwin
from transformers import SwinConfig

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.errors import UserError
from modise_lightning.pretrained.weights import locate
from modise_lightning.structures import Conditioning, FeaturePyramid

# Of the RGB channels of ImageNet, which the published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STAGES = ["stage1", "stage2", "stage3", "stage4"]
# The classifier's, which a backbone does not have, and the norms of the levels, which a classifier has not.
_REMOVED_KEYS = ("classifier.", "swin.layernorm.")
_ADDED_KEYS = ("hidden_states_norms.",)


class SwinBackbone(Backbone):
    """Features of the four stages of a Swin transformer, each with its own LayerNorm, as in Mask2Former.

    transformers' Swin pads before it shifts its windows, as the original does; timm's pads after, which lets
    opposite borders of the image attend to each other where a level is no multiple of the window.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        swin: TransformersSwin,
        learning_rate_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)],
    ) -> None:
        """Take over a Swin transformer.

        Args:
            swin: With all four stages as ``out_features``.
            learning_rate_multiplier: Share of the learning rate that it gets.
        """
        super().__init__()
        # This norm has no part in the features: it would be a trained parameter without a gradient.
        swin.swin.layernorm = nn.Identity()  # type: ignore[assignment]
        self.swin = swin
        s2, s3, s4, s5 = swin.channels
        self.feature_channels = (s2, s3, s4, s5)
        self.window_size = None
        self.conditioning_shape = None
        self.learning_rate_multiplier = learning_rate_multiplier
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        """Compute features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
            conditioning: Has to be None.
        """
        if conditioning is not None:
            raise ValueError("A Swin backbone takes no conditioning.")
        return FeaturePyramid(*self.swin((images - self.mean) / self.std).feature_maps)


def load_swin_backbone(
    *,
    weights: str,
    repository: str,
    files: Sequence[str],
    seed: int,
    architecture: Mapping[str, Any],
    drop_path_rate: float,
    learning_rate_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)],
) -> SwinBackbone:
    """Build a Swin backbone.

    Args:
        weights: ``hub``, ``random``, ``checkpoint`` (random until a checkpoint is loaded), or a local folder
            with transformers' ``config.json`` and weights.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        seed: Of random weights.
        architecture: transformers' SwinConfig of random weights; published weights bring their own.
        drop_path_rate: Of the last block in training; rises linearly from 0 at the first one.
        learning_rate_multiplier: Share of the learning rate that it gets.

    Raises:
        UserError: The weights are missing, damaged, or not those of a Swin transformer.
    """
    folder = locate(part="backbone", weights=weights, repository=repository, patterns=files, trained=True)
    options = {"out_features": STAGES, "drop_path_rate": drop_path_rate}
    # Also for published weights: they leave the norms of the levels to the library's initialisation.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        swin = _build(architecture, options) if folder is None else _read(folder, options)
    return SwinBackbone(swin=swin.train(), learning_rate_multiplier=learning_rate_multiplier)


def _build(architecture: Mapping[str, Any], options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    try:
        return TransformersSwin(SwinConfig(**{**architecture, **options}))
    except Exception as error:  # The libraries raise many kinds on a wrong argument.
        raise UserError(f"backbone.architecture: Swin cannot be built ({_first_line(error)}).") from error


def _read(folder: Path, options: Mapping[str, Any]) -> Any:  # noqa: ANN401
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise UserError(
            f"backbone: '{folder}' is no folder with {safe.name} or {pickled.name}. Copy the published files "
            "there (backbone.weights), or give backbone.weights=random to run without."
        )
    try:
        config = SwinConfig.from_pretrained(folder, local_files_only=True, **options)
        swin, report = cast(Any, TransformersSwin).from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=safe.is_file(),
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # The libraries raise many kinds on a damaged or hostile file.
        raise UserError(
            f"backbone: {folder} cannot be read ({_first_line(error)}). Copy the published folder again."
        ) from error
    missing = [key for key in report["missing_keys"] if not key.startswith((*_ADDED_KEYS, "swin.layernorm."))]
    unexpected = [key for key in report["unexpected_keys"] if not key.startswith(_REMOVED_KEYS)]
    unexpected = [key for key in unexpected if not key.endswith("relative_position_index")]
    for kind, keys in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("mismatched", report["mismatched_keys"]),
    ):
        if keys:
            raise UserError(
                f"backbone: the weights in {folder} do not fit a Swin transformer: {len(keys)} {kind}, first "
                f"{sorted(map(str, keys))[0]}. Use the repository that backbone.repository names."
            )
    return swin


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
