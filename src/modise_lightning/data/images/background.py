"""Finds the part of a mammogram that shows the breast, so that the air around it can be trimmed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.structures import Region

# Chosen on the 496 images of CDD-CESM: no outlined finding is cut off.
_WORKING_SIDE = 256  # a breast is coarse: larger images are searched at this size, in pixels
_AIR = 0.05  # share of the range between the darkest and the bright pixels (99th percentile) that is air
_MARGIN = 0.02  # of the image's longer side, kept around the breast


def find_breast(image: NDArray[np.float32]) -> Region:
    """Find the box around the largest part of an image that is brighter than air.

    Args:
        image: (H, W) in [0, 1], tissue brighter than air.

    Returns:
        The box with a margin; the whole image if it has no contrast.
    """
    height, width = image.shape
    breast = _find_small(image)
    if breast is None:
        return Region(0, 0, height, width)
    size = breast.shape[1], breast.shape[0]
    left, top, box_width, box_height = cv2.boundingRect(breast)
    margin = _MARGIN * max(height, width)
    rows, columns = height / size[1], width / size[0]
    first_row, first_column = max(0, int(top * rows - margin)), max(0, int(left * columns - margin))
    last_row = min(height, int(np.ceil((top + box_height) * rows + margin)))
    last_column = min(width, int(np.ceil((left + box_width) * columns + margin)))
    return Region(first_row, first_column, last_row - first_row, last_column - first_column)


def find_breast_pixels(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find the pixels of the largest part of an image that is brighter than air.

    Args:
        image: (H, W) in [0, 1], tissue brighter than air.

    Returns:
        (H, W), as exact as the search; the whole image if it has no contrast.
    """
    height, width = image.shape
    breast = _find_small(image)
    if breast is None:
        return np.ones((height, width), dtype=np.bool_)
    return np.asarray(cv2.resize(breast, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0)


def _find_small(image: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Find the breast's pixels, 1, at the size of the search; None if the image has no contrast."""
    height, width = image.shape
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(np.asarray(small, dtype=np.float32), 5)
    low, high = float(small.min()), float(np.percentile(small, 99))
    tissue = (small > low + _AIR * (high - low)).astype(np.uint8)
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(tissue, connectivity=8)
    if count < 2:
        return None
    largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    return np.asarray(parts == largest, dtype=np.uint8)
