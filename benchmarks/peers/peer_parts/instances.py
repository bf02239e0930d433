"""Maps of class probabilities to instances: connected components with their mean probability as score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from peer_parts.predictions import PredictedImage


def instances_of_maps(probabilities: NDArray[np.float32], labels: list[int]) -> PredictedImage:
    """Take the connected components of each class's pixels as its instances.

    A pixel has the class with the largest probability, background among them. Pixels that touch at a corner
    are connected. The score of a component is the mean of its class's probability over its pixels.

    Args:
        probabilities: (1 + C, H, W): of the background, then of each class; they add up to 1.
        labels: Index of each of the C classes in the prepared dataset.

    Returns:
        Each component once, as an instance and as a panoptic segment, the best first.
    """
    best = probabilities.argmax(0)
    found: list[tuple[float, int, NDArray[np.bool_]]] = []
    for channel, index in enumerate(labels, start=1):
        components, number = label(best == channel, return_num=True, connectivity=2)
        for component in range(1, number + 1):
            mask = components == component
            found.append((float(probabilities[channel][mask].mean()), index, mask))
    found.sort(key=lambda instance: -instance[0])
    segments = np.zeros(best.shape, dtype=np.int32)
    for position, (_, _, mask) in enumerate(found, start=1):
        segments[mask] = position
    masks = np.stack([mask for _, _, mask in found]) if found else np.zeros((0, *best.shape), dtype=bool)
    scores = np.array([score for score, _, _ in found], dtype=np.float32)
    classes = np.array([index for _, index, _ in found], dtype=np.int64)
    semantic = {index: probabilities[channel] for channel, index in enumerate(labels, start=1)}
    return PredictedImage(masks, classes, scores, segments, classes, scores, semantic)
