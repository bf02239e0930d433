"""Turns masks into the outlines of an SVG picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours

_TOLERANCE = 0.4  # pixels of the picture: below what is seen


def outline_path(mask: NDArray[np.bool_], width: int, height: int) -> str:
    """Trace a mask, with its holes and all of its parts.

    Args:
        mask: (H, W).
        width: Of the picture that the outline is drawn over, in its units.
        height: Likewise.

    Returns:
        The ``d`` of a path, to be filled by the even-odd rule; empty for an empty mask.
    """
    left, top, box_width, box_height = cv2.boundingRect(mask.astype(np.uint8))
    if not box_width:
        return ""
    # A border of background, so that outlines close where the mask reaches the image's border.
    crop = np.pad(mask[top : top + box_height, left : left + box_width].astype(np.float64), 1)
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    # find_contours gives (row, column) of pixel centres; the picture's origin is a pixel's corner.
    offset = np.array([left, top]) - 1 + 0.5
    parts = []
    for contour in find_contours(crop, 0.5):  # type: ignore[no-untyped-call]
        corners = (contour[:, ::-1] + offset) * scale
        points = approximate_polygon(corners, _TOLERANCE)  # type: ignore[no-untyped-call]
        if len(points) > 3:  # the last one repeats the first
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points[:-1]) + "Z")
    return "".join(parts)
