"""Calibration of scores: how often detections of a score are correct, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


@dataclass(frozen=True)
class Reliability:
    """Detections in bins of their scores.

    Attributes:
        edges: (B + 1,) borders of the bins; a bin holds its lower border, the last one both.
        counts: (B,) detections.
        mean_score: (B,) NaN in an empty bin.
        accuracy: (B,) share of correct ones; NaN in an empty bin.
        low: (B,) lower bound of the accuracy's Wilson interval; NaN in an empty bin.
        high: (B,) upper bound.
        error: Expected calibration error (Guo et al. 2017, eq. 3): the mean distance of accuracy and mean
            score, weighted by the counts; NaN without detections.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    mean_score: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    error: float


def measure_reliability(
    scores: NDArray[np.float64], correct: NDArray[np.bool_], *, num_bins: int, confidence: float
) -> Reliability:
    """Bin detections by score, in bins of equal width over [0, 1].

    Args:
        scores: (N,) in [0, 1].
        correct: (N,).
        num_bins: B.
        confidence: Of the intervals, in (0, 1).
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    hits = np.bincount(bins, weights=correct, minlength=num_bins)
    divisor = np.where(counts > 0, counts, np.nan)
    mean_score = np.bincount(bins, weights=scores, minlength=num_bins) / divisor
    accuracy = hits / divisor
    bounds = np.full((num_bins, 2), np.nan)
    for index in np.flatnonzero(counts):
        interval = binomtest(int(hits[index]), int(counts[index])).proportion_ci(confidence, "wilson")
        bounds[index] = interval.low, interval.high
    gaps = np.nansum(counts * np.abs(accuracy - mean_score))
    return Reliability(
        edges=edges,
        counts=counts,
        mean_score=mean_score,
        accuracy=accuracy,
        low=bounds[:, 0],
        high=bounds[:, 1],
        error=float(gaps / len(scores)) if len(scores) else float("nan"),
    )
