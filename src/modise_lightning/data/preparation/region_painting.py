"""Paints regions that overlap into a map that cannot: the smaller one wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.preparation.via_shapes import CroppedMask
from modise_lightning.data.prepared.writing import MAXIMUM_SEGMENTS

# Far beyond real images, whose regions are some dozens at most; time and memory grow with it.
MAXIMUM_COVER = 20  # pixels of the boxes around all regions, in pixels of the image


@dataclass(frozen=True)
class Painting:
    """Regions in one map.

    Attributes:
        segment_ids: (H, W) int32; 0 where there is no region, 1..N the regions of ``kept``.
        kept: Index of each painted region, in the order of the regions.
        dropped: Index of each region that too little was left of.
        areas: Pixels of each region before painting.
        visible: Pixels of each region after painting, dropped ones at the moment they were dropped.
    """

    segment_ids: NDArray[np.int32]
    kept: list[int]
    dropped: list[int]
    areas: list[int]
    visible: list[int]


def paint_regions(
    masks: Sequence[CroppedMask], height: int, width: int, minimum_visible_fraction: float
) -> Painting:
    """Paint larger regions first and smaller ones on top; of equal ones the later one is on top.

    A region that less than the fraction is left of is dropped and the others are painted anew without it, the
    most hidden one first, until all that remain are visible.

    Args:
        masks: The regions, each with at least one pixel.
        height: Image height in pixels.
        width: Image width in pixels.
        minimum_visible_fraction: Smallest part of a region's area in [0, 1] that must stay visible.
    """
    areas = np.array([mask.area for mask in masks], dtype=np.int64)
    order = np.array(sorted(range(len(masks)), key=lambda index: (-areas[index], index)), dtype=np.int64)
    segment_ids = np.zeros((height, width), dtype=np.int32)
    for index in order:
        segment_ids[masks[index].window][masks[index].mask] = index + 1
    visible = np.bincount(segment_ids.ravel(), minlength=len(masks) + 1)[1:]
    dropped: list[int] = []
    while len(order):
        most_hidden = int(np.argmin(visible[order] / areas[order]))
        index = int(order[most_hidden])
        if visible[index] >= minimum_visible_fraction * areas[index]:
            break
        below = order[:most_hidden][::-1]
        _uncover(segment_ids, masks, index, below, visible)
        order = np.delete(order, most_hidden)
        dropped.append(index)
    kept = sorted(order.tolist())
    renumber = np.zeros(len(masks) + 1, dtype=np.int32)
    renumber[np.asarray(kept, dtype=np.int64) + 1] = np.arange(1, len(kept) + 1)
    return Painting(renumber[segment_ids], kept, sorted(dropped), areas.tolist(), visible.tolist())


def _uncover(
    segment_ids: NDArray[np.int32],
    masks: Sequence[CroppedMask],
    index: int,
    below: NDArray[np.int64],
    visible: NDArray[np.int64],
) -> None:
    """Give the pixels of a region to what lies below it; painting all anew would take time for each drop.

    Args:
        segment_ids: (H, W), changed.
        masks: The regions.
        index: The region that is taken away.
        below: Those that may be below it, the topmost one first.
        visible: (N,) pixels of each region, changed; that of the region itself stays.
    """
    if not visible[index]:
        return
    rows, columns = np.nonzero(segment_ids[masks[index].window] == index + 1)
    rows, columns = rows + masks[index].top, columns + masks[index].left
    segment_ids[rows, columns] = 0
    for other in below:
        mask = masks[other]
        row, column = rows - mask.top, columns - mask.left
        found = (row >= 0) & (column >= 0) & (row < mask.mask.shape[0]) & (column < mask.mask.shape[1])
        found[found] = mask.mask[row[found], column[found]]
        segment_ids[rows[found], columns[found]] = other + 1
        visible[other] += np.count_nonzero(found)
        rows, columns = rows[~found], columns[~found]
        if not len(rows):
            break


def why_too_many(number: int, box_pixels: int, height: int, width: int) -> str | None:
    """Tell when an image has regions that would take too much time or memory, instead of painting them.

    Args:
        number: How many there are.
        box_pixels: Sum of the pixels of the boxes around them, as far as they are in the image.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        The end of a sentence that begins with the image; None if they can be painted.
    """
    if number > MAXIMUM_SEGMENTS:
        return f"it has {number} regions, more than {MAXIMUM_SEGMENTS}"
    if box_pixels > MAXIMUM_COVER * height * width:
        return f"the boxes around its regions have more than {MAXIMUM_COVER} times its pixels"
    return None
