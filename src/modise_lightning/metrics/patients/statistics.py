"""Metrics as functions of how often each patient is drawn: sums by patient, weighted and divided.

A resample of patients is a row of weights, so that thousands of resamples are a few products of matrices, and
no image is looked at twice. Weights of 1 give the metric itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class PatientStatistic(Protocol):
    """One or more numbers of one fold of one model.

    Attributes:
        patients: P names, sorted; they are what is drawn.
    """

    @property
    def patients(self) -> tuple[str, ...]:
        """P names, sorted."""
        ...

    def measure(self, weights: Values) -> Mapping[str, Values]:
        """Measure resamples.

        Args:
            weights: (S, P) how often each patient is drawn.

        Returns:
            By number, (S, K) of each class, NaN where it is undefined; K is 1 for a number without classes.
        """
        ...

    def beside(self, other: Self) -> Self:
        """Put another model's patients behind this one's: a statistic of 2 P patients, for permutations.

        Scores of two models have no common scale; where a number depends on scores, they become ranks.

        Args:
            other: Of the same patients.
        """
        ...


@dataclass(frozen=True)
class RatioOfSums:
    """A sum over patients divided by another one, of each class: Dice, sensitivities, means over matches.

    Attributes:
        name: Of the number.
        patients: P names, sorted.
        numerator: (P, K).
        denominator: (P, K), not negative; a class without any is undefined.
    """

    name: str
    patients: tuple[str, ...]
    numerator: Values
    denominator: Values

    def measure(self, weights: Values) -> dict[str, Values]:
        """Divide the weighted sums."""
        denominator = weights @ self.denominator
        defined = denominator > 0
        ratio = (weights @ self.numerator) / np.where(defined, denominator, 1)
        return {self.name: np.where(defined, ratio, np.nan)}

    def beside(self, other: RatioOfSums) -> RatioOfSums:
        """Put another model's sums behind these."""
        return RatioOfSums(
            self.name,
            self.patients + other.patients,
            np.concatenate([self.numerator, other.numerator]),
            np.concatenate([self.denominator, other.denominator]),
        )


@dataclass(frozen=True)
class SegmentCounts:
    """What panoptic quality at one threshold is made of.

    Attributes:
        patients: P names, sorted.
        counts: (P, 4, K) true positives, false positives, false negatives and IoU sum.
    """

    patients: tuple[str, ...]
    counts: Values

    def measure(self, weights: Values) -> dict[str, Values]:
        """Give RQ, SQ and PQ of each class that occurs."""
        return quality_by_class(np.tensordot(weights, self.counts, 1))

    def beside(self, other: SegmentCounts) -> SegmentCounts:
        """Put another model's counts behind these."""
        return SegmentCounts(self.patients + other.patients, np.concatenate([self.counts, other.counts]))


@dataclass(frozen=True)
class AreasOverThresholds:
    """Areas under the curves of PQ, RQ and SQ over the IoU threshold, by trapezoids, divided by its range.

    Attributes:
        patients: P names, sorted.
        thresholds: T of them, rising, at least two.
        counts: (P, T, 4, K) as in ``SegmentCounts``, at each threshold.
    """

    patients: tuple[str, ...]
    thresholds: tuple[float, ...]
    counts: Values

    def measure(self, weights: Values) -> dict[str, Values]:
        """Give the areas of each class that occurs."""
        width = self.thresholds[-1] - self.thresholds[0]
        curves = quality_by_class(np.tensordot(weights, self.counts, 1))
        return {
            f"{name} area over T": np.asarray(np.trapezoid(values, self.thresholds, axis=1)) / width
            for name, values in curves.items()
        }

    def beside(self, other: AreasOverThresholds) -> AreasOverThresholds:
        """Put another model's counts behind these."""
        counts = np.concatenate([self.counts, other.counts])
        return AreasOverThresholds(self.patients + other.patients, self.thresholds, counts)


def quality_by_class(counts: Values) -> dict[str, Values]:
    """Give RQ, SQ and PQ (Kirillov et al. 2019, eq. 2) of counts (..., 4, K); NaN where nothing occurs."""
    matched, false_positives, false_negatives, iou_sum = np.moveaxis(counts, -2, 0)
    weight = matched + false_positives / 2 + false_negatives / 2
    occurs = np.where(weight > 0, 1.0, np.nan)
    recognition = matched / np.where(weight > 0, weight, 1) * occurs
    segmentation = iou_sum / np.where(matched > 0, matched, 1) * occurs
    return {"RQ": recognition, "SQ": segmentation, "PQ": recognition * segmentation}


def measure_once(statistic: PatientStatistic) -> dict[str, float]:
    """Measure each patient once: by number, the mean over its classes, NaN where it is undefined."""
    measured = statistic.measure(np.ones((1, len(statistic.patients))))
    return {name: float(defined_mean(values, 1)[0]) for name, values in measured.items()}


def defined_mean(values: Values, axis: int) -> Values:
    """Average the values that are defined; NaN where none is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")  # NaN is what is wanted
        return np.asarray(np.nanmean(values, axis))


def sum_by_patient(of_row: Sequence[str], rows: Values) -> tuple[tuple[str, ...], Values]:
    """Add up rows (N, ...) of the same patient.

    Args:
        of_row: Patient of each row.
        rows: (N, ...).

    Returns:
        P names, sorted; sums (P, ...).
    """
    names, position = np.unique(np.asarray(of_row, dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), *rows.shape[1:]))
    np.add.at(sums, position, rows)
    return tuple(names.tolist()), sums
