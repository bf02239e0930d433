"""Cuts images into the fixed-size windows that a backbone takes, and puts their features together again.

Windows do not overlap, except that the last one of a row or column is shifted inwards, and features are
averaged where windows overlap (ODISE's sliding windows). All offsets are multiples of 32 pixels, the coarsest
stride, so a window starts on a whole cell of every pyramid level: an image whose side is no multiple of 32 is
first zero-padded to one on the right and at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from modise_lightning.structures import FeaturePyramid

COARSEST_STRIDE = 32
STRIDES = (4, 8, 16, 32)


def split_into_windows(images: Tensor, size: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Cut images into square windows.

    Args:
        images: (B, 3, H, W).
        size: Height and width of a window in pixels, a multiple of 32.

    Returns:
        Windows (B * n, 3, size, size), the n windows of an image next to each other, and their n offsets
        (y, x). Where one window covers the images exactly, they are returned without a copy.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images, [(0, 0)]
    rows, columns = (_starts(max(size, _round_up(side)), size) for side in (height, width))
    images = F.pad(images, (0, columns[-1] + size - width, 0, rows[-1] + size - height))
    offsets = [(y, x) for y in rows for x in columns]
    windows = torch.stack([images[..., y : y + size, x : x + size] for y, x in offsets], dim=1)
    return windows.flatten(0, 1), offsets


def count_windows(height: int, width: int, size: int) -> int:
    """Count the windows that an image is cut into; all lengths in pixels."""
    rows, columns = (-(-_round_up(side) // size) for side in (height, width))
    return rows * columns


def join_pyramids(pyramids: Sequence[FeaturePyramid]) -> FeaturePyramid:
    """Put pyramids of some windows each into one of all of them; a single one is returned without a copy."""
    if len(pyramids) == 1:
        return pyramids[0]
    levels = zip(*(pyramid.levels for pyramid in pyramids), strict=True)
    return FeaturePyramid(*(torch.cat(level) for level in levels))


def split_pyramid(pyramid: FeaturePyramid, numbers: Sequence[int]) -> list[FeaturePyramid]:
    """Give each of several callers the pyramid of its windows, without a copy.

    Args:
        pyramid: Of all windows, one caller's after another's.
        numbers: How many windows each has.
    """
    levels = zip(*(torch.split(level, list(numbers)) for level in pyramid.levels), strict=True)
    return [FeaturePyramid(*own) for own in levels]


def merge_windows(
    pyramid: FeaturePyramid, offsets: list[tuple[int, int]], batch: int, canvas: tuple[int, int]
) -> FeaturePyramid:
    """Put the features of windows into the pyramid of the images that they were cut from.

    Args:
        pyramid: Features of the windows (B * n, C, size / stride, size / stride).
        offsets: (y, x) of each of the n windows in pixels, as from `split_into_windows`.
        batch: Number of images B.
        canvas: Height and width of the images in pixels.

    Returns:
        Features of the images (B, C, H / stride, W / stride), rounded up; averaged where windows overlap,
        without a copy where there is one window.
    """
    merged = (
        _merge_level(level, [(y // stride, x // stride) for y, x in offsets], batch, stride, canvas)
        for level, stride in zip(pyramid.levels, STRIDES, strict=True)
    )
    return FeaturePyramid(*merged)


def _merge_level(
    windows: Tensor, offsets: list[tuple[int, int]], batch: int, stride: int, canvas: tuple[int, int]
) -> Tensor:
    height, width = (-(-side // stride) for side in canvas)
    if len(offsets) == 1:
        return windows[..., :height, :width]
    rows, columns = (sorted(set(starts)) for starts in zip(*offsets, strict=True))
    grid = windows.view(batch, len(rows), len(columns), *windows.shape[1:])
    across = _join(grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5), columns, dim=-1)  # (B, C, n, size, width)
    return _join(across.flatten(2, 3), rows, dim=2)[..., :height, :width]


def _join(windows: Tensor, starts: Sequence[int], dim: int) -> Tensor:
    """Join windows that follow each other along a dimension, the last one shifted inwards.

    Written into the result one after the other, each would copy the whole gradient.
    """
    size = windows.shape[dim] // len(starts)
    overlap = size * len(starts) - (starts[-1] + size)
    if not overlap:
        return windows
    whole, shared, again, rest = torch.split(windows, [starts[-1], overlap, overlap, size - overlap], dim=dim)
    return torch.cat([whole, (shared + again) / 2, rest], dim=dim)


def _round_up(side: int) -> int:
    return -(-side // COARSEST_STRIDE) * COARSEST_STRIDE


def _starts(side: int, size: int) -> list[int]:
    return [min(start, side - size) for start in range(0, side, size)]
