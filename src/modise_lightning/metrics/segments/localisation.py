"""Where predicted and true segments lie: their boxes and centres, for other rules of a hit than overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.packed_masks import PackedMasks, unpack_bits

# What makes a detection hit a lesion: enough IoU of the masks or of their boxes, the centre of the detection
# inside the lesion, or any pixel in common.
HitRule = Literal["mask_iou", "box_iou", "centre", "any_overlap"]

Boxes = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """Places of N masks of one size; of an empty mask nothing is known.

    Attributes:
        boxes: (N, 4) first row and column, row and column behind the last; 0 of an empty mask.
        centres: (N, 2) mean row and mean column of the pixels; NaN of an empty mask.
    """

    boxes: Boxes
    centres: Values

    @classmethod
    def of(cls, masks: PackedMasks) -> Places:
        """Look for the masks in their packed bits; only the boxes are unpacked."""
        boxes = np.zeros((len(masks.bits), 4), dtype=np.int64)
        centres = np.full((len(masks.bits), 2), np.nan)
        for number, bits in enumerate(masks.bits):
            rows = torch.nonzero(bits.any(1)).flatten()
            if not len(rows):
                continue
            top, bottom = int(rows[0]), int(rows[-1]) + 1
            mask = unpack_bits(bits[top:bottom], masks.width)
            in_column = mask.sum(0).cpu().numpy()
            in_row = mask.sum(1).cpu().numpy()
            columns = np.flatnonzero(in_column)
            boxes[number] = top, columns[0], bottom, columns[-1] + 1
            area = in_row.sum()
            centres[number] = (
                top + (in_row * np.arange(len(in_row))).sum() / area,
                (in_column * np.arange(len(in_column))).sum() / area,
            )
        chosen = masks.rows.cpu().numpy()
        return cls(boxes[chosen], centres[chosen])


def box_iou(first: Boxes, second: Boxes) -> Values:
    """Intersection over union of boxes of whole pixels.

    Args:
        first: (N, 4) as in ``Places``.
        second: (M, 4) likewise.

    Returns:
        (N, M); 0 where both are empty.
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - both
    return np.asarray(both / np.where(union > 0, union, 1), dtype=np.float64)


def centres_inside(centres: Values, segment_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the true segment that holds each centre, rounded to the nearest pixel.

    The centre of mass of a bent mask can lie outside of itself; it is then judged where it lies.

    Args:
        centres: (N, 2) of the predictions; NaN of an empty mask.
        segment_ids: (H, W) true map: 0 no segment, -1 void, 1..M the segments.

    Returns:
        (N,) index from 0; -1 where it is in none.
    """
    known = np.asarray(~np.isnan(centres).any(1))
    # Halves are rounded down, so that a centre stays inside of its box.
    rows, columns = np.ceil(np.where(known[:, None], centres, 0) - 0.5).astype(np.int64).T
    found = np.where(known, segment_ids[rows, columns] - 1, -1)
    return np.asarray(np.maximum(found, -1), dtype=np.int64)
