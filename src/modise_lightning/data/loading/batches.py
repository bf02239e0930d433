"""Puts images of different sizes into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from modise_lightning.structures import Batch, ImageRecord, PanopticSegmentation, Region

# An image, its segments, its size inside the padding, where it comes from, and in evaluation what it shows.
Sample = tuple[Tensor, PanopticSegmentation, tuple[int, int], ImageRecord, Region | None]


def collate(samples: Sequence[Sample], size_multiple: int) -> Batch:
    """Put images of different sizes into one batch, padded at the right and bottom to multiples of pixels."""
    images, targets, sizes, records, regions = zip(*samples, strict=True)
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    padded = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
    return Batch(
        pad_to_multiple(torch.stack(padded), size_multiple),
        list(sizes),
        list(targets),
        list(records),
        None if None in regions else list(regions),
    )


def pad_to_multiple(images: Tensor, size_multiple: int) -> Tensor:
    """Pad (B, 3, H, W) with zeros at the right and bottom to multiples of ``size_multiple`` pixels."""
    height, width = images.shape[-2:]
    return pad(images, (0, -width % size_multiple, 0, -height % size_multiple))
