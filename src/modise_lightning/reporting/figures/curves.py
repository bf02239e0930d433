"""Curves over folds: what the figures draw, computed from the detections of each fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.metrics.curves.froc import froc_curve
from modise_lightning.metrics.curves.precision_recall import RECALLS, precision_at_recalls
from modise_lightning.reporting.cross_validation.models import Summary


@dataclass(frozen=True)
class FoldCurve:
    """A curve's mean over folds.

    Attributes:
        x: (N,).
        mean: (N,) over the folds in which it is defined; NaN where it is in none.
        deviation: (N,) sample standard deviation over them; NaN below two.
        area: Of each fold's own single number: average precision, or mean sensitivity.
    """

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    area: Summary

    @classmethod
    def of(cls, x: NDArray[np.float64], by_fold: Sequence[NDArray[np.float64]], area: Summary) -> FoldCurve:
        """Summarise one curve a fold, all at the same places."""
        summaries = [Summary.of(values) for values in np.stack(by_fold, axis=1).tolist()]
        return cls(
            x,
            np.array([summary.mean for summary in summaries]),
            np.array([summary.deviation for summary in summaries]),
            area,
        )


def precision_recall_curves(
    folds: Sequence[Detections], *, labels: Sequence[int], threshold: float
) -> dict[int | None, FoldCurve]:
    """Compute precision at COCO's recall points, of each class and of their mean.

    The mean over classes is taken in each fold, over the classes with truth there; folds are averaged last.
    The area is then the mean average precision that the tables have.

    Args:
        folds: Detections of each fold; or of all of them together.
        labels: Classes.
        threshold: IoU from which a detection is correct.

    Returns:
        By class; the mean under None.
    """
    by_class: dict[int | None, list[NDArray[np.float64]]] = {label: [] for label in (None, *labels)}
    for detections in folds:
        correct = detections.match(threshold)
        curves = []
        for label in labels:
            own = detections.labels == label
            num_truth = int((detections.truth_labels == label).sum())
            curves.append(precision_at_recalls(detections.scores[own], correct[own], num_truth))
            by_class[label].append(curves[-1])
        defined = [curve for curve in curves if not np.isnan(curve[0])]
        undefined = np.full(len(RECALLS), np.nan)
        by_class[None].append(np.mean(defined, axis=0) if defined else undefined)
    return {
        label: FoldCurve.of(RECALLS, own, Summary.of([float(curve.mean()) for curve in own]))
        for label, own in by_class.items()
    }


def froc_curves(
    folds: Sequence[Detections],
    *,
    labels: Sequence[int],
    threshold: float,
    rates: NDArray[np.float64],
    operating_points: Sequence[float],
) -> dict[int | None, FoldCurve]:
    """Compute sensitivity against false positives an image, of each class and of all lesions.

    Args:
        folds: Detections of each fold; or of all of them together.
        labels: Classes.
        threshold: IoU from which a detection hits a lesion.
        rates: (N,) false positives an image.
        operating_points: Rates whose mean sensitivity is the area.

    Returns:
        By class; all lesions under None.
    """
    curves = {}
    for label in (None, *labels):
        own = [froc_curve(detections, threshold=threshold, label=label) for detections in folds]
        area = Summary.of([float(curve.at(operating_points).mean()) for curve in own])
        curves[label] = FoldCurve.of(rates, [curve.at(rates) for curve in own], area)
    return curves
