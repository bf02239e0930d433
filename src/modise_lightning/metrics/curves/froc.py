"""Free-response operating characteristic: sensitivity for lesions against false positives an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modise_lightning.metrics.curves.detections import Detections


@dataclass(frozen=True)
class FrocCurve:
    """Operating points, from the strictest to the laxest cut of the scores.

    Attributes:
        false_positives: (S,) false positives an image, rising from 0.
        sensitivity: (S,) share of the lesions that are found, rising; NaN without lesions.
    """

    false_positives: NDArray[np.float64]
    sensitivity: NDArray[np.float64]

    def at(self, false_positives: ArrayLike) -> NDArray[np.float64]:
        """Give the highest sensitivity with at most so many false positives an image.

        Args:
            false_positives: Any number of rates, not negative.
        """
        last = np.searchsorted(self.false_positives, np.asarray(false_positives), side="right") - 1
        return np.asarray(self.sensitivity[last])


def froc_curve(detections: Detections, *, threshold: float, label: int | None) -> FrocCurve:
    """Move a cut through the scores and count lesions found and false positives.

    A detection hits every lesion that it overlaps with an IoU of at least the threshold; one that hits none
    is a false positive. A lesion is found once any detection hits it, and further hits on it are neither
    found lesions nor false positives (as in LUNA16, Setio et al. 2017).

    Args:
        detections: Of an evaluation.
        threshold: IoU of a hit, in [0, 1].
        label: Count the lesions and the detections of this class only; None counts all, and any detection may
            hit any lesion.
    """
    hit = detections.pair_iou >= threshold
    shown = np.ones(len(detections.scores), dtype=np.bool_)
    lesions = np.ones(len(detections.truth_labels), dtype=np.bool_)
    if label is not None:
        shown, lesions = detections.labels == label, detections.truth_labels == label
        hit &= shown[detections.pair_detection] & lesions[detections.pair_truth]
    false = shown.copy()
    false[detections.pair_detection[hit]] = False
    found_at = np.full(len(lesions), -np.inf)
    np.maximum.at(found_at, detections.pair_truth[hit], detections.scores[detections.pair_detection[hit]])
    # No detection is above the first cut, all are above the last.
    cuts = np.append(np.inf, np.unique(detections.scores[shown])[::-1])
    num_lesions = int(lesions.sum())
    found = _count_from(cuts, found_at[lesions])
    return FrocCurve(
        false_positives=_count_from(cuts, detections.scores[false]) / detections.num_images,
        sensitivity=found / num_lesions if num_lesions else np.full(len(cuts), np.nan),
    )


def _count_from(cuts: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the scores that are at least each cut."""
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), cuts, side="left"), dtype=np.int64)
