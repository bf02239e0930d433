"""The frozen image tower of a CLIP, with that CLIP's own preprocessing, on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


class ImageEncoder(nn.Module):
    """Encodes images with a frozen CLIP image tower; it stays in evaluation mode and gives no gradient."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        tower: nn.Module,
        embedding_dim: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: Literal["bicubic", "bilinear"],
        resize_mode: Literal["shortest", "squash"],
        antialias: bool,
    ) -> None:
        """Freeze the tower.

        Args:
            tower: (B, 3, size, size) normalised images to (B, embedding_dim).
            embedding_dim: Width of the embeddings.
            size: Side of the square input of the tower, in pixels.
            mean: Of each RGB channel, in [0, 1].
            std: Of each RGB channel.
            interpolation: How images are resized.
            resize_mode: ``shortest`` keeps the aspect ratio and crops the centre, ``squash`` does not.
            antialias: Resize as an 8-bit image is resized, which CLIP was trained on: filtered where it
                shrinks, and clamped to [0, 1]. Else as torchvision resized tensors when ODISE was trained.
        """
        super().__init__()
        self.tower = tower.requires_grad_(False).eval()
        self.embedding_dim = embedding_dim
        self.size = size
        self.interpolation = InterpolationMode(interpolation)
        self.resize_mode = resize_mode
        self.antialias = antialias
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)

    @property
    def preprocessing(self) -> dict[str, object]:
        """Settings that decide, beside the tower and the buffers, what an image's embedding is."""
        return {
            "size": self.size,
            "interpolation": self.interpolation.value,
            "resize_mode": self.resize_mode,
            "antialias": self.antialias,
        }

    def train(self, mode: bool = True) -> ImageEncoder:
        """Stay in evaluation mode: the tower is frozen."""
        return super().train(False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize, crop and normalise (B, 3, H, W) in [0, 1] to (B, 3, size, size)."""
        target = [self.size] if self.resize_mode == "shortest" else [self.size, self.size]
        images = functional.resize(images, target, interpolation=self.interpolation, antialias=self.antialias)
        images = functional.center_crop(images, [self.size, self.size])
        if self.antialias:
            # Bicubic resizing overshoots; 8-bit images, which CLIP was trained on, cannot.
            images = images.clamp(0, 1)
        return (images - self.mean) / self.std

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, embedding_dim), not normalised.
        """
        embeddings: Tensor = self.tower(self.preprocess(images))
        return embeddings
