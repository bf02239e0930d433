"""Which pairs of predicted and true segments are matches at an IoU threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from modise_lightning.metrics.pairs import SegmentPairs

Matching = Literal["hungarian", "greedy", "panopticapi"]

# Segments do not overlap, so that at most one pair of a segment has an IoU above this
# (Kirillov et al. 2019, section 4.1): from here on every pair above the threshold is a match.
_UNIQUE_ABOVE = 0.5


def match(pairs: SegmentPairs, thresholds: Sequence[float], matching: Matching) -> Tensor:
    """Tell the matches among the pairs with an IoU above each threshold.

    Args:
        pairs: The overlapping pairs of the same class.
        thresholds: T thresholds; a pair must have a larger IoU.
        matching: Below 0.5 matches are not unique. ``hungarian``: one to one, with the largest total IoU;
            ``greedy``: one to one, the largest IoU first; ``panopticapi``: every pair above the threshold, as
            the reference tool's loop does once its 0.5 is replaced. From 0.5 on all three agree.

    Returns:
        (T, P) bool.
    """
    above = pairs.iou[None] > torch.tensor(thresholds, dtype=torch.float64)[:, None]
    if matching == "panopticapi":
        return above
    if matching == "greedy":
        # Going down the IoU, lower thresholds only add pairs at the end: the result at 0 holds all others.
        return above & _greedy(pairs)
    rows = [
        row if threshold >= _UNIQUE_ABOVE else _hungarian(pairs, row)
        for threshold, row in zip(thresholds, above, strict=True)
    ]
    return torch.stack(rows) if rows else above


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


def _hungarian(pairs: SegmentPairs, above: Tensor) -> Tensor:
    rows, row = torch.unique(pairs.prediction[above], return_inverse=True)
    columns, column = torch.unique(pairs.truth[above], return_inverse=True)
    if len(rows) == len(row) and len(columns) == len(column):
        return above
    # Zeros stand for pairs that may not match; an assignment that uses one is no match.
    # Pairs of different classes are zeros too, so that the optimum of all classes is that of each.
    iou = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    iou[row, column] = pairs.iou[above]
    assigned = torch.zeros(iou.shape, dtype=torch.bool)
    assigned[linear_sum_assignment(iou.numpy(), maximize=True)] = True
    matched = above.clone()
    matched[above] = assigned[row, column]
    return matched
