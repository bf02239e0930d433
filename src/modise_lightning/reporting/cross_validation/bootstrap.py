"""Bootstrap intervals of differences in panoptic quality, over patients, from the records of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.metrics.patients.statistics import defined_mean, quality_by_class


@dataclass(frozen=True)
class PatientCounts:
    """What panoptic quality at one threshold is made of, by patient, of one fold of one model.

    Attributes:
        image_ids: Images of the fold.
        patients: Their P patients, sorted. An image without a patient is a patient of its own.
        counts: (P, 4, K) true positives, false positives, false negatives and IoU sum of each of P patients
            and K classes.
    """

    image_ids: list[int]
    patients: tuple[str, ...]
    counts: NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapDifference:
    """How the mean difference of a metric between two trained models varies with the patients.

    Attributes:
        low: Lower bound of the interval.
        high: Upper bound.
        deviation: Standard deviation over the samples.
    """

    low: float
    high: float
    deviation: float


def bootstrap_differences(
    folds: Sequence[tuple[PatientCounts, PatientCounts]], *, samples: int, confidence: float, seed: int
) -> dict[str, BootstrapDifference]:
    """Estimate the intervals of the mean differences of RQ, SQ and PQ between two models.

    In each sample patients are drawn anew, with replacement, the same ones for both models: those of each
    fold for itself, and those that several folds share (an official test set) once for all these folds. A
    class that a sample does not show for both models is no part of that fold's mean.

    The trainings stay as they are: the interval leaves out the variance between trainings.

    Args:
        folds: Counts of both models on the same images, one pair a fold; two folds test the same patients or
            have none in common.
        samples: Number of samples.
        confidence: In (0, 1): the percentiles (1 - confidence) / 2 and (1 + confidence) / 2 are given.
        seed: Of the draws.

    Returns:
        Of first minus second, by metric.
    """
    generator = np.random.default_rng(seed)
    differences: dict[str, list[NDArray[np.float64]]] = {"RQ": [], "SQ": [], "PQ": []}
    drawn: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for first, second in folds:
        patients = len(first.patients)
        if first.patients not in drawn:
            drawn[first.patients] = generator.multinomial(
                patients, np.full(patients, 1 / patients), size=samples
            )
        weights = drawn[first.patients]
        own, other = (
            quality_by_class(np.einsum("sp,pck->sck", weights, each.counts)) for each in (first, second)
        )
        for metric, values in differences.items():
            # NaN in either one leaves the class out of the mean.
            values.append(defined_mean(own[metric] - other[metric], -1))
    bounds = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for metric, values in differences.items():
        means = defined_mean(np.stack(values), 0)
        low, high = np.nanquantile(means, bounds)
        intervals[metric] = BootstrapDifference(float(low), float(high), float(np.nanstd(means)))
    return intervals
