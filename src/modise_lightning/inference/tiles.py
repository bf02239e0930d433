"""Mask logits at the size of the stored image, tile by tile, so that no tile leaves the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.inference.resize import resize_mask_logits

# Pixels. With 100 queries a tile takes 1.6 MB, which fits into a core's cache; chosen by measuring.
TILE_SIDE = 64
_ROUNDING = 1e-5  # more than a weighted mean of float32 values can exceed the largest of them by, relatively


@dataclass(frozen=True)
class Tile:
    """A rectangle of the result.

    Attributes:
        rows: Its rows in the result.
        columns: Its columns in the result.
        logits: (Q, h, w) of all queries.
        largest: (Q,), which no logit of a query in the tile exceeds.
    """

    rows: slice
    columns: slice
    logits: Tensor
    largest: Tensor


def upsampled_tiles(
    mask_logits: Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> Iterator[Tile]:
    """Give the tiles of the masks of one image as ``resize_mask_logits`` makes them.

    Bilinear resizing is a product with a banded matrix on each side, and so is one after another. An
    accelerator gets the whole image as one tile.

    Args:
        mask_logits: (Q, h, w) over the padded input.
        padded_size: Height and width of the padded input.
        image_size: Height and width of the image inside the padding (top left).
        output_size: Height and width of the result.
    """
    masks = mask_logits.float()
    if masks.device.type != "cpu":
        resized = resize_mask_logits(
            masks, padded_size=padded_size, image_size=image_size, output_size=output_size
        )
        yield Tile(slice(0, output_size[0]), slice(0, output_size[1]), resized, _bound(masks.amax((1, 2))))
        return
    vertical, horizontal = (
        list(_bands(*sides))
        for sides in zip(masks.shape[1:], padded_size, image_size, output_size, strict=True)
    )
    for rows, source_rows, row_weights in vertical:
        strip = masks[:, source_rows]
        largest = _bound(strip.amax(1))
        for columns, source_columns, column_weights in horizontal:
            source = strip[:, :, source_columns]
            logits = torch.matmul(row_weights, torch.matmul(source, column_weights.T))
            yield Tile(rows, columns, logits, largest[:, source_columns].amax(1))


def _bound(largest: Tensor) -> Tensor:
    return largest + _ROUNDING * largest.abs()


def _bands(
    mask_side: int, padded_side: int, image_side: int, output_side: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cut an axis of the result into tiles.

    Yields:
        A tile's pixels in the result, the mask's cells that they depend on, and the weights (pixels, cells).
    """
    # What resizing makes of unit vectors are the weights; exactly, since steps add up.
    weights = functional.interpolate(
        torch.eye(mask_side, dtype=torch.float64)[None], size=padded_side, mode="linear"
    )[..., :image_side]
    if image_side != output_side:
        weights = functional.interpolate(weights, size=output_side, mode="linear")
    for start in range(0, output_side, TILE_SIDE):
        pixels = slice(start, min(start + TILE_SIDE, output_side))
        own = weights[0, :, pixels].T
        cells = torch.nonzero(own.any(0)).flatten().tolist()
        band = slice(cells[0], cells[-1] + 1)
        yield pixels, band, own[:, band].float().contiguous()
