"""The IoU threshold that the metrics are reported at."""

from __future__ import annotations

import math
from collections.abc import Sequence


def best_threshold(panoptic_quality: Sequence[float], thresholds: Sequence[float], limit: float) -> float:
    """Find the threshold with the highest mean panoptic quality; the lowest such one when several tie.

    Args:
        panoptic_quality: Mean PQ at each threshold; NaN is lower than every number.
        thresholds: IoU thresholds.
        limit: Thresholds above it are not considered.

    Raises:
        ValueError: No threshold is within the limit.
    """
    candidates = [
        (-math.inf if math.isnan(quality) else quality, -threshold)
        for quality, threshold in zip(panoptic_quality, thresholds, strict=True)
        if threshold <= limit
    ]
    if not candidates:
        raise ValueError(f"no threshold is at most {limit}; the thresholds are {list(thresholds)}.")
    return -max(candidates)[1]
