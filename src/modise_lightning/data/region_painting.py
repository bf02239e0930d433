"""Paints regions that overlap into a map that cannot: the smaller one wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.via_shapes import CroppedMask


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
    areas = [mask.area for mask in masks]
    order = sorted(range(len(masks)), key=lambda index: (-areas[index], index))
    visible = [0] * len(masks)
    dropped: list[int] = []
    while True:
        segment_ids = np.zeros((height, width), dtype=np.int32)
        for index in order:
            segment_ids[masks[index].window][masks[index].mask] = index + 1
        pixels = np.bincount(segment_ids.ravel(), minlength=len(masks) + 1)
        for index in order:
            visible[index] = int(pixels[index + 1])
        most_hidden = min(order, key=lambda index: visible[index] / areas[index], default=None)
        if most_hidden is None or visible[most_hidden] >= minimum_visible_fraction * areas[most_hidden]:
            break
        order.remove(most_hidden)
        dropped.append(most_hidden)
    kept = sorted(order)
    renumber = np.zeros(len(masks) + 1, dtype=np.int32)
    renumber[np.asarray(kept, dtype=np.int64) + 1] = np.arange(1, len(kept) + 1)
    return Painting(renumber[segment_ids], kept, sorted(dropped), areas, visible)
