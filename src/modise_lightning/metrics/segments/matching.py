"""Which pairs of predicted and true segments are matches at an IoU threshold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from modise_lightning.metrics.segments.pairs import SegmentPairs

Matching = Literal["hungarian", "greedy", "panopticapi"]

# Segments do not overlap, so that at most one pair of a segment has an IoU above this
# (Kirillov et al. 2019, section 4.1): from here on every pair above the threshold is a match.
_UNIQUE_ABOVE = 0.5


def match(pairs: SegmentPairs, thresholds: Sequence[float], matching: Matching) -> Tensor:
    """Tell the matches among the pairs with an IoU above each threshold.

    Args:
        pairs: The overlapping pairs of the same class.
        thresholds: T thresholds; a pair must have a larger IoU.
        matching: Below 0.5 matches are not unique. ``panopticapi``: every pair above the threshold, as the
            reference tool's loop does once its 0.5 is replaced, so that a segment may be in several;
            ``hungarian``: one to one, with the largest total IoU; ``greedy``: one to one, the largest IoU
            first. From 0.5 on all three agree, and a higher threshold never has more matches. Below,
            ``hungarian`` can: once the weak middle of a chain of overlaps is cut, the largest total may be
            one of more pairs.

    Returns:
        (T, P) bool.
    """
    above = pairs.iou[None] > torch.tensor(thresholds, dtype=torch.float64)[:, None]
    if matching == "panopticapi":
        return above
    if matching == "greedy":
        # Going down the IoU, lower thresholds only add pairs at the end: the result at 0 holds all others.
        return above & _greedy(pairs)
    matched = above.numpy().copy()
    for row, threshold in zip(matched, thresholds, strict=True):
        if threshold < _UNIQUE_ABOVE:
            _assign(row, pairs)
    return torch.from_numpy(matched)


def _greedy(pairs: SegmentPairs) -> Tensor:
    matched = torch.zeros(len(pairs.iou), dtype=torch.bool)
    order = torch.argsort(pairs.iou, descending=True, stable=True)
    predictions, truths = pairs.prediction.tolist(), pairs.truth.tolist()
    used_predictions: set[int] = set()
    used_truths: set[int] = set()
    for pair in order.tolist():
        if predictions[pair] not in used_predictions and truths[pair] not in used_truths:
            matched[pair] = True
            used_predictions.add(predictions[pair])
            used_truths.add(truths[pair])
    return matched


def _assign(matched: NDArray[np.bool_], pairs: SegmentPairs) -> None:
    """Take back, of the pairs above a threshold, those that the best one-to-one assignment does not hold."""
    above = np.flatnonzero(matched)
    prediction, truth = pairs.prediction.numpy()[above], pairs.truth.numpy()[above]
    # A pair that shares neither segment with another one is in every best assignment.
    contested = (np.bincount(prediction)[prediction] > 1) | (np.bincount(truth)[truth] > 1)
    if not contested.any():
        return
    above, prediction, truth = above[contested], prediction[contested], truth[contested]
    iou = pairs.iou.numpy()[above]
    for own in _of_images(pairs, above):
        rows, row = np.unique(prediction[own], return_inverse=True)
        columns, column = np.unique(truth[own], return_inverse=True)
        # Zeros stand for pairs that may not match; an assignment that uses one is no match.
        # Pairs of different classes are zeros too, so that the optimum of all classes is that of each.
        weights = np.zeros((len(rows), len(columns)))
        weights[row, column] = iou[own]
        assigned = np.zeros(weights.shape, dtype=bool)
        assigned[linear_sum_assignment(weights, maximize=True)] = True
        matched[above[own]] = assigned[row, column]


def _of_images(pairs: SegmentPairs, chosen: NDArray[np.int64]) -> list[slice]:
    """Give where, among chosen pairs, those of each image are: one matrix of all images would be huge."""
    if pairs.image is None:
        return [slice(None)]
    image = pairs.image.numpy()[chosen]
    bounds = [0, *(np.flatnonzero(np.diff(image)) + 1).tolist(), len(image)]
    return [slice(*bound) for bound in pairwise(bounds)]
