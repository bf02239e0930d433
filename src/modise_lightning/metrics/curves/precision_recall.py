"""Precision of ranked detections at COCO's recall points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# COCO's recall points: 0, 0.01, ..., 1.
RECALLS = np.linspace(0, 1, 101)


def precision_at_recalls(
    scores: NDArray[np.float64], correct: NDArray[np.bool_], num_truth: int
) -> NDArray[np.float64]:
    """Compute COCO's interpolated precision; its mean is the average precision.

    At each recall point it is the highest precision of all cuts of the ranking that reach at least this
    recall, and 0 where none does.

    Args:
        scores: (N,) of the detections of one class; of equal scores the earlier one ranks higher.
        correct: (N,) whether each is.
        num_truth: True segments of the class.

    Returns:
        (101,) at ``RECALLS``; NaN without truth.
    """
    if num_truth == 0:
        return np.full(len(RECALLS), np.nan)
    ranked = correct[np.argsort(-scores, kind="stable")]
    found = np.cumsum(ranked)
    recall = found / num_truth
    precision = found / np.arange(1, len(ranked) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return np.asarray(envelope[np.searchsorted(recall, RECALLS, side="left")])
