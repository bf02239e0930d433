"""The implicit captioner: a frozen image encoder and trained projections that condition a diffusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modise_lightning.captioners.image_encoder import ImageEncoder
from modise_lightning.errors import UserError
from modise_lightning.feature_store.recall import FeatureRecall
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.pretrained.clip import ClipSource, build_image_tower, open_clip_source
from modise_lightning.structures import Conditioning, ConditioningShape


class ImplicitCaptioner(nn.Module):
    """Turns an image into what a caption of it would be to a diffusion model (ODISE, "Implicit Captioner").

    With the un-normalised image embedding ``e``: ``context = tanh(a) * (Linear(e) + p)`` with ``a`` and ``p``
    of the context's shape, and ``time_embedding`` likewise. ``a`` starts at zero, so training starts from the
    unconditional model.
    """

    def __init__(
        self,
        *,
        image_encoder: ImageEncoder,
        shape: ConditioningShape,
        feature_store: FeatureStore | None = None,
    ) -> None:
        """Build the trained projections.

        Args:
            image_encoder: Frozen.
            shape: What the diffusion model expects.
            feature_store: Where image embeddings are kept; None computes them each time.
        """
        super().__init__()
        self.image_encoder = image_encoder
        self.recall = FeatureRecall(
            feature_store,
            what="image embeddings",
            module=image_encoder,
            settings=image_encoder.preprocessing,
        )
        width = image_encoder.embedding_dim
        self.context = _GatedProjection(width, shape.context_length, shape.context_channels)
        self.time_embedding = _GatedProjection(width, shape.timesteps, shape.time_channels)

    def forward(self, images: Tensor) -> Conditioning:
        """Compute what is added to the diffusion model's unconditional inputs.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].

        Returns:
            Context (B, context_length, context_channels), time embedding (B, timesteps, time_channels).
        """
        (embedding,) = self.recall(lambda absent: (self.image_encoder(absent),), images)
        return Conditioning(context=self.context(embedding), time_embedding=self.time_embedding(embedding))


class _GatedProjection(nn.Module):
    """``tanh(a) * (Linear(e)[:, None] + p)``, (B, embedding_dim) to (B, length, channels)."""

    def __init__(self, embedding_dim: int, length: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding_dim, channels)
        self.positional_embedding = nn.Parameter(torch.empty(1, length, channels))
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)  # ODISE
        self.gate = nn.Parameter(torch.zeros(1, length, channels))

    def forward(self, embedding: Tensor) -> Tensor:
        projected: Tensor = self.projection(embedding)
        return torch.tanh(self.gate) * (projected[:, None] + self.positional_embedding)


def load_captioner(
    *,
    weights: str,
    repository: str,
    files: Sequence[str],
    seed: int,
    architecture: Mapping[str, Any],
    antialias: bool,
    shape: ConditioningShape | None,
    feature_store: FeatureStore | None = None,
) -> ImplicitCaptioner:
    """Build an implicit captioner on the image tower of a CLIP.

    Args:
        weights: ``hub``, ``random``, or a local folder in the layout that open_clip publishes.
        repository: Published id on the Hugging Face hub.
        files: File name patterns that ``hub`` downloads.
        seed: Of random frozen weights.
        architecture: open_clip's ``model_cfg`` of random weights.
        antialias: Whether images are filtered when they are resized for the tower; see ``ImageEncoder``.
        shape: What the backbone expects; None if it takes no conditioning.
        feature_store: Where image embeddings are kept; None computes them each time.

    Raises:
        UserError: The weights are missing or damaged, or the backbone takes no conditioning.
    """
    if shape is None:
        raise UserError(
            "captioner: this backbone takes no conditioning, so a captioner has no use. Set captioner=none."
        )
    source = open_clip_source(
        part="captioner", weights=weights, repository=repository, files=files, architecture=architecture
    )
    image_encoder = _build_image_encoder(source, seed, antialias)
    return ImplicitCaptioner(image_encoder=image_encoder, shape=shape, feature_store=feature_store)


def _build_image_encoder(source: ClipSource, seed: int, antialias: bool) -> ImageEncoder:
    tower = build_image_tower(source, seed=seed)
    size = tower.image_size
    height, width = (size, size) if isinstance(size, int) else tuple(size)  # type: ignore[arg-type]
    preprocess = source.preprocess
    supported = (
        height == width
        and preprocess.interpolation in ("bicubic", "bilinear")
        and preprocess.resize_mode in ("shortest", "squash")
        and len(preprocess.mean) == len(preprocess.std) == 3
    )
    if not supported:
        raise UserError(
            f"{source.part}: preprocessing of {source.folder}: {height}x{width} {preprocess} is not "
            "supported; it has to be square RGB, bicubic or bilinear, shortest or squash."
        )
    return ImageEncoder(
        tower=tower,
        embedding_dim=source.embedding_dim,
        size=height,
        mean=preprocess.mean,
        std=preprocess.std,
        interpolation=preprocess.interpolation,
        resize_mode=preprocess.resize_mode,
        antialias=antialias,
    )
