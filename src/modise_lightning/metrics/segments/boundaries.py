"""How well the border of a segment is drawn: distances between two contours, and overlap of border strips.

Contours run between pixels, and each piece counts by its length, as in DeepMind's surface-distance (Nikolov
et al. 2021): results do not depend on how many corners a border has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Contour:
    """The border of a mask, at the corners of its pixels.

    Attributes:
        points: (H + 1, W + 1) bool, the corners whose four pixels are not all alike.
        lengths: (H + 1, W + 1) length of the border around each corner; 0 elsewhere.
    """

    points: Mask
    lengths: Values

    @classmethod
    def of(cls, mask: Mask, spacing: Sequence[float]) -> Self:
        """Walk along a mask as marching squares do.

        Args:
            mask: (H, W); what is outside of it does not belong to it.
            spacing: Height and width of a pixel.
        """
        height, width = spacing
        padded = np.pad(mask, 1)
        corners = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
        number = np.sum(corners, axis=0, dtype=np.int64)
        cut_corner = float(np.hypot(height / 2, width / 2))
        # Of two pixels: side by side, one above the other, or the two of a diagonal, which cut two corners.
        straight = np.where(
            corners[0] == corners[1], width, np.where(corners[0] == corners[2], height, 2 * cut_corner)
        )
        lengths = np.where(number % 2 == 1, cut_corner, np.where(number == 2, straight, 0.0))
        return cls(np.asarray((number > 0) & (number < 4)), lengths)


@dataclass(frozen=True)
class ContourDistances:
    """From each piece of one contour to the nearest piece of the other one.

    Attributes:
        to_truth: (A,) distances of the predicted contour's pieces.
        predicted_length: (A,) their lengths.
        to_prediction: (B,) distances of the true contour's pieces.
        true_length: (B,) their lengths.
    """

    to_truth: Values
    predicted_length: Values
    to_prediction: Values
    true_length: Values

    @classmethod
    def between(cls, prediction: Mask, truth: Mask, spacing: Sequence[float]) -> Self:
        """Measure two masks.

        Args:
            prediction: (H, W) with a pixel.
            truth: (H, W) with a pixel.
            spacing: Height and width of a pixel; distances have its unit.

        Raises:
            ValueError: The sizes differ, or a mask is empty.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"masks must have one size; they are {prediction.shape} and {truth.shape}.")
        if not prediction.any() or not truth.any():
            raise ValueError("an empty mask has no contour.")
        window = bounding_box(prediction | truth)
        own, its = (Contour.of(mask[window], spacing) for mask in (prediction, truth))
        to_truth, to_prediction = (
            distance_transform_edt(~other.points, sampling=spacing)[each.points]
            for each, other in ((own, its), (its, own))
        )
        return cls(to_truth, own.lengths[own.points], to_prediction, its.lengths[its.points])

    def surface_dice(self, tolerance: float) -> float:
        """Share of both contours within a tolerance of the other one: normalised surface Dice.

        Args:
            tolerance: In the unit of the distances.
        """
        near = self.predicted_length[self.to_truth <= tolerance].sum()
        near += self.true_length[self.to_prediction <= tolerance].sum()
        return float(near / self._length)

    def hausdorff(self, share: float) -> float:
        """Distance that a share of each contour does not exceed, the larger of both.

        Args:
            share: In (0, 1]; 0.95 for the 95 % Hausdorff distance.
        """
        return max(
            _quantile(self.to_truth, self.predicted_length, share),
            _quantile(self.to_prediction, self.true_length, share),
        )

    def average(self) -> float:
        """Average symmetric surface distance: the mean over both contours together, by length."""
        distance = (self.to_truth * self.predicted_length).sum()
        distance += (self.to_prediction * self.true_length).sum()
        return float(distance / self._length)

    @property
    def _length(self) -> float:
        return float(self.predicted_length.sum() + self.true_length.sum())


def boundary_iou(prediction: Mask, truth: Mask, width: int) -> float:
    """Intersection over union of the strips inside the two borders (Cheng et al. 2021, eq. 2).

    Args:
        prediction: (H, W).
        truth: (H, W).
        width: Of the strip in pixels, at least 1: how often a 3 x 3 erosion is repeated, as the authors' code
            does. What is outside of the image belongs to no mask.

    Returns:
        In [0, 1]; NaN if both masks are empty.
    """
    together = prediction | truth
    if not together.any():
        return float("nan")
    window = bounding_box(together)
    own, its = (_strip(mask[window], width) for mask in (prediction, truth))
    return int((own & its).sum()) / int((own | its).sum())


def strip_width(height: int, width: int, share: float) -> int:
    """Give the width of an image's strips: a share of its diagonal, at least a pixel (Cheng et al. 2021)."""
    return max(1, round(share * float(np.hypot(height, width))))


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """Give the smallest box around a mask with a pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _strip(mask: Mask, width: int) -> Mask:
    depth = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    return np.asarray(mask & (depth <= width))


def _quantile(distances: Values, lengths: Values, share: float) -> float:
    order = np.lexsort((lengths, distances))
    covered = np.cumsum(lengths[order]) / lengths.sum()
    return float(distances[order][min(int(np.searchsorted(covered, share)), len(order) - 1)])
