"""A trivial baseline: one segment, the brightest blob inside the breast."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label

from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction

# Shares of the image's longer side, and of the blob's peak above the breast's median.
_SMOOTHING = 0.015
_SKIN = 0.04
_FALL_OFF = 0.6


def predict_bright_blob(image: NDArray[np.float32], *, category: int, num_categories: int) -> Prediction:
    """Predict the brightest blob as a segment of one class with score 1.

    The image is smoothed; the breast is what lies above Otsu's threshold, without a rim for the skin; the blob is
    what is connected to the brightest pixel and above 60 % of its height over the breast's median.

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
    side = max(image.shape)
    smooth = gaussian(image, sigma=_SMOOTHING * side, preserve_range=True)
    nothing = np.zeros(image.shape, dtype=bool)
    if smooth.max() - smooth.min() < 1e-6:
        return nothing
    breast = (smooth > threshold_otsu(smooth)).astype(np.uint8)
    # The image's border is no skin: a breast runs out of the picture at the chest wall.
    rim = max(1, round(_SKIN * side))
    padded = cv2.copyMakeBorder(breast, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[rim:-rim, rim:-rim]
    inside = distance > rim
    if not inside.any():
        return nothing
    peak = np.where(inside, smooth, -np.inf).argmax()
    height, median = smooth.flat[peak], np.median(smooth[inside])
    components = label(inside & (smooth >= median + _FALL_OFF * (height - median)))
    return np.asarray(components == components.flat[peak])
