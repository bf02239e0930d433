"""Turns a box around a lesion into a mask, as the M-ODISE paper does for VinDr-Mammo.

Gaussian blur of the box's pixels, Otsu's threshold of that box, and a concave hull around what is brighter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import shapely
import skimage.filters
from numpy.typing import NDArray

from modise_lightning.data.preparation.via_shapes import CroppedMask, fill_polygon
from modise_lightning.errors import UserError

Outcome = Literal["segmented", "flat", "small", "outside"]
# Images are float32 at best: smaller differences, relative to the values, are rounding.
_RESOLUTION = float(np.finfo(np.float32).eps)
_NEIGHBOURS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the full image; fractions and places outside the image are allowed.

    Attributes:
        left: Smallest x.
        top: Smallest y.
        right: Largest x.
        bottom: Largest y.
    """

    left: float
    top: float
    right: float
    bottom: float

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Give the rows and columns of an image that the box touches; empty where it touches none."""
        top, bottom = max(0, math.floor(self.top)), min(height, math.ceil(self.bottom))
        left, right = max(0, math.floor(self.left)), min(width, math.ceil(self.right))
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def fraction_inside(self, height: int, width: int) -> float:
        """Tell how much of the box's area, in [0, 1], lies in an image; 0 for a box without area."""
        area = max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)
        columns = max(0.0, min(self.right, width) - max(self.left, 0.0))
        rows = max(0.0, min(self.bottom, height) - max(self.top, 0.0))
        return rows * columns / area if area else 0.0


@dataclass(frozen=True)
class BoxMask:
    """What became of a box.

    Attributes:
        mask: Its pixels, all of them in the box and in the image; none if the box is outside.
        outcome: ``segmented``; ``flat`` (nothing in it is brighter than the rest) and ``small`` (nothing is
            left of it after the blur) take the whole box; ``outside`` touches no pixel.
    """

    mask: CroppedMask
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class BoxToMask:
    """Segments the bright lesion in a box.

    Attributes:
        blur_sigma: Standard deviation of the Gaussian blur in pixels.
        concave_hull_ratio: Longest edge of the hull, between the shortest (0) and the longest (1, the convex
            hull) edge of the points' Delaunay triangulation; shapely's ``ratio``.
        minimum_side: Boxes with a shorter side, in pixels, are taken whole.

    Raises:
        UserError: A value is out of its range.
    """

    blur_sigma: float
    concave_hull_ratio: float
    minimum_side: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.blur_sigma < math.inf:
            raise UserError(
                f"data.preparer.box_to_mask.blur_sigma: {self.blur_sigma} is not a positive number of pixels."
            )
        if not 0 <= self.concave_hull_ratio <= 1:
            raise UserError(
                f"data.preparer.box_to_mask.concave_hull_ratio: {self.concave_hull_ratio} is not in [0, 1]."
            )
        if self.minimum_side < 1:
            raise UserError(
                f"data.preparer.box_to_mask.minimum_side: {self.minimum_side}, but at least 1 is needed."
            )

    def __call__(self, image: NDArray[Any], box: Box) -> BoxMask:
        """Segment the lesion in a box.

        Args:
            image: (H, W) grey values, of any range; lesions are bright.
            box: The box.

        Returns:
            Its mask; never empty unless the box is outside the image.
        """
        rows, columns = box.window(*image.shape)
        region = image[rows, columns]
        top, left = rows.start, columns.start
        if region.size == 0:
            return BoxMask(CroppedMask(0, 0, np.zeros((0, 0), dtype=bool)), "outside")
        whole = CroppedMask(top, left, np.ones(region.shape, dtype=bool))
        if min(region.shape) < self.minimum_side:
            return BoxMask(whole, "small")
        filters: Any = skimage.filters  # untyped
        blurred = filters.gaussian(region.astype(np.float64), sigma=self.blur_sigma, preserve_range=True)
        if np.ptp(blurred) <= _RESOLUTION * np.abs(blurred).max():
            return BoxMask(whole, "flat")
        bright = np.asarray(blurred > filters.threshold_otsu(blurred))
        if not bright.any():
            return BoxMask(whole, "flat")
        return BoxMask(
            CroppedMask(top, left, bright | _concave_hull(bright, self.concave_hull_ratio)), "segmented"
        )


def _concave_hull(mask: NDArray[np.bool_], ratio: float) -> NDArray[np.bool_]:
    """Fill the concave hull of a mask's pixels; nothing if they lie on a line."""
    # The hull of the contour's pixels is that of all, and takes seconds instead of minutes.
    inner = cv2.erode(mask.astype(np.uint8), _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    rows, columns = np.nonzero(mask & (inner == 0))
    hull = shapely.concave_hull(shapely.MultiPoint(np.stack([columns, rows], axis=1)), ratio=ratio)
    filled = np.zeros(mask.shape, dtype=bool)
    if isinstance(hull, shapely.Polygon) and not hull.is_empty:
        inside = fill_polygon(np.asarray(hull.exterior.coords)[:-1], *mask.shape)
        filled[inside.window] = inside.mask
    return filled
