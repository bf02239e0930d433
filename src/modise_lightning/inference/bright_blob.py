"""A trivial baseline: one segment, the brightest blob inside the breast."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction

_WORKING_SIDE = 512  # a blob is coarse: larger images are searched at this size, in pixels
# Shares of the image's longer side, and of the blob's peak above the breast's median.
_SMOOTHING = 0.015
_SKIN = 0.04
_FALL_OFF = 0.6


def predict_bright_blob(image: NDArray[np.float32], *, category: int, num_categories: int) -> Prediction:
    """Predict the brightest blob as a segment of one class with score 1.

    The image is smoothed; the breast is what lies above Otsu's threshold, without a rim for the skin; the
    blob is what is connected to the brightest pixel and above 60 % of its height over the breast's median.

    Args:
        image: (H, W) in [0, 1].
        category: Class index of the segment.
        num_categories: K.

    Returns:
        One segment, or none in an image without contrast.
    """
    blob = _find_blob(image)
    found = bool(blob.any())
    mask = torch.from_numpy(blob)
    labels = torch.full((int(found),), category)
    scores = torch.ones(int(found))
    semantic = torch.zeros(num_categories, *image.shape)
    semantic[category] = mask.float()
    return Prediction(
        panoptic=PanopticSegmentation(mask.long(), labels, scores),
        instances=InstanceSegmentation(mask[None][: int(found)], labels, scores),
        semantic=semantic,
    )


def _find_blob(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = image.shape
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    side = max(size)
    smooth = cv2.GaussianBlur(smooth, (0, 0), _SMOOTHING * side, borderType=cv2.BORDER_REPLICATE)
    low, high = float(smooth.min()), float(smooth.max())
    if high - low < 1e-6:
        return np.zeros(image.shape, dtype=bool)
    levels = ((smooth - low) / (high - low) * 255).round().astype(np.uint8)
    _, breast = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # The image's border is no skin: a breast runs out of the picture at the chest wall.
    rim = max(1, round(_SKIN * side))
    padded = cv2.copyMakeBorder(breast, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[rim:-rim, rim:-rim] > rim
    if not inside.any():
        return np.zeros(image.shape, dtype=bool)
    peak = np.unravel_index(np.where(inside, smooth, -np.inf).argmax(), smooth.shape)
    median = np.median(smooth[inside])
    bright = inside & (smooth >= median + _FALL_OFF * (smooth[peak] - median))
    _, components = cv2.connectedComponents(bright.astype(np.uint8), connectivity=8)
    blob = (components == components[peak]).astype(np.float32)
    enlarged = blob if scale == 1 else cv2.resize(blob, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged > 0.5)
