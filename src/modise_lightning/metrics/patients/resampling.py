"""Intervals over patients: the bootstrap by fold, with percentile and BCa bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from modise_lightning.metrics.patients.statistics import PatientStatistic, Values, defined_mean

# The statistics of each fold of a model; each fold's patients are its statistics'.
Folds = Sequence[PatientStatistic]


@dataclass(frozen=True)
class Interval:
    """A number and how it varies with the patients.

    Attributes:
        value: Mean over the folds; NaN where it is undefined.
        percentile: Bounds of the percentile interval (Efron 1979), expanded for few patients.
        bca: Bounds of the bias-corrected and accelerated interval (Efron 1987), likewise; NaN where the
            number does not vary, or lies outside of all resamples.
        deviation: Standard deviation over the resamples.
        defined: Share of the resamples in which the number is defined; the bounds are of those.
    """

    value: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    deviation: float
    defined: float


@dataclass(frozen=True)
class Strata:
    """The patients that are drawn together: those of a fold, or of all folds that test the same ones.

    Attributes:
        of_fold: (F,) position of each fold's stratum.
        sizes: Patients of each stratum.
    """

    of_fold: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, patients: Sequence[tuple[str, ...]]) -> Strata:
        """Tell them apart.

        Args:
            patients: Of each fold. Two folds test the same patients or have none in common.
        """
        distinct = list(dict.fromkeys(patients))
        return cls(tuple(distinct.index(each) for each in patients), tuple(len(each) for each in distinct))

    def draw(self, samples: int, seed: int) -> list[Values]:
        """Draw the patients of each stratum with replacement, as many as there are: (S, P) each."""
        generator = np.random.default_rng(seed)
        return [
            generator.multinomial(size, np.full(size, 1 / size), size=samples).astype(np.float64)
            for size in self.sizes
        ]


@dataclass(frozen=True)
class Resampled:
    """The numbers of a model in each resample, which its intervals and its differences need.

    Attributes:
        strata: Of its folds.
        numbers: By name, (1 + P + S, K) of each fold: of its P patients, without each of them, of S draws.
    """

    strata: Strata
    numbers: dict[str, list[Values]]


class Bootstrap:
    """Draws patients again and again, alike for all statistics of the same patients.

    Patients are drawn with replacement within each fold, all images of a patient together; the trainings stay
    as they are. A class that is undefined in a resample is no part of its mean, for a difference in either
    model.
    """

    def __init__(self, *, samples: int, confidence: float, seed: int) -> None:
        """Draw when the first statistics come.

        Args:
            samples: Number of resamples.
            confidence: In (0, 1).
            seed: Of the draws.
        """
        self.samples = samples
        self.confidence = confidence
        self.seed = seed
        self._last: tuple[tuple[int, ...], list[Values]] = ((), [])

    def measure(self, folds: Folds) -> Resampled:
        """Measure the patients as they are, without each of them, and drawn.

        Args:
            folds: A model's statistics, one a fold.
        """
        strata = Strata.of([fold.patients for fold in folds])
        weights = self._weights(strata)
        measured = [fold.measure(weights[own]) for fold, own in zip(folds, strata.of_fold, strict=True)]
        return Resampled(strata, {name: [each[name] for each in measured] for name in measured[0]})

    def intervals(self, own: Resampled, minus: Resampled | None = None) -> dict[str, Interval]:
        """Estimate how each number of a model, or its difference from another's, varies with the patients.

        Args:
            own: Of the model.
            minus: Of another model, on the same patients.

        Returns:
            By number.
        """
        strata = own.strata
        found = {}
        for name, by_class in own.numbers.items():
            others = None if minus is None else minus.numbers[name]
            values = [
                defined_mean(each if others is None else each - others[fold], 1)
                for fold, each in enumerate(by_class)
            ]
            by_fold = np.array([each[0] for each in values])
            left_out = [each[1 : -self.samples] for each in values]
            resampled = np.stack([each[-self.samples :] for each in values], 1)
            jackknife = [
                _leave_one_out(by_fold, left_out, strata, stratum) for stratum in range(len(strata.sizes))
            ]
            found[name] = interval(
                float(defined_mean(by_fold, 0)),
                defined_mean(resampled, 1),
                jackknife,
                expanded(self.confidence, strata.sizes),
            )
        return found

    def _weights(self, strata: Strata) -> list[Values]:
        """Give the patients of each stratum as they are, without each one, and drawn: (1 + P + S, P) each."""
        sizes, weights = self._last
        if sizes != strata.sizes:
            drawn = strata.draw(self.samples, self.seed)
            weights = [np.vstack([np.ones(own.shape[1]), 1 - np.eye(own.shape[1]), own]) for own in drawn]
            self._last = (strata.sizes, weights)
        return weights


def expanded(confidence: float, sizes: Sequence[int]) -> float:
    """Give the level at which resamples are cut so that the interval of few patients has its confidence.

    Resamples of n patients vary less than patients do, by (n - 1) / n, and know nothing of the uncertainty of
    that variance. Hesterberg's expanded percentile interval (2015, What teachers should know about the
    bootstrap, The American Statistician 69) makes up for both with the quantile of Student's t.

    Args:
        confidence: In (0, 1).
        sizes: Patients of each stratum. The smallest one that varies decides; without one nothing changes.
    """
    size = min((size for size in sizes if size > 1), default=None)
    if size is None:
        return confidence
    # float64 cannot tell the levels of more than eight standard deviations from 1.
    quantile = min(8.0, t.ppf((1 + confidence) / 2, size - 1) * np.sqrt(size / (size - 1)))
    return float(norm.cdf(quantile) - norm.cdf(-quantile))


def interval(value: float, resampled: Values, jackknife: Sequence[Values], confidence: float) -> Interval:
    """Compute the bounds from resamples.

    Args:
        value: The number itself.
        resampled: (S,) NaN where it is undefined.
        jackknife: Of each stratum, the number without each of its patients.
        confidence: In (0, 1), of the resamples that lie between the percentile bounds.
    """
    defined = np.sort(resampled[~np.isnan(resampled)])
    nothing = (np.nan, np.nan)
    if np.isnan(value) or not len(defined):
        return Interval(value, nothing, nothing, np.nan, len(defined) / len(resampled))
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(defined, tails)
    share = len(defined) / len(resampled)
    bca = _bca_bounds(value, defined, jackknife, tails)
    return Interval(value, (float(low), float(high)), bca, float(defined.std()), share)


def _bca_bounds(
    value: float, resampled: Values, jackknife: Sequence[Values], tails: Values
) -> tuple[float, float]:
    """Shift the percentiles for bias and skewness (Efron 1987); strata are what scipy calls samples."""
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    influence = [(len(own) - 1) * (own.mean() - own) for own in jackknife if len(own)]
    cubes = sum(float((each**3).sum()) / len(each) ** 3 for each in influence)
    squares = sum(float((each**2).sum()) / len(each) ** 2 for each in influence)
    if not 0 < below < 1 or not squares > 0:
        return np.nan, np.nan
    bias, acceleration = norm.ppf(below), cubes / squares**1.5 / 6
    shifted = bias + norm.ppf(tails)
    scale = 1 - acceleration * shifted
    # At a scale of 0 a bound reaches the outermost resample.
    moved = np.where(scale > 0, bias + shifted / np.where(scale > 0, scale, 1), np.copysign(np.inf, shifted))
    low, high = np.quantile(resampled, norm.cdf(moved))
    return float(low), float(high)


def _leave_one_out(
    by_fold: NDArray[np.float64], left_out: Sequence[Values], strata: Strata, stratum: int
) -> Values:
    """Give the mean over folds without each patient of a stratum; the other folds stay whole."""
    size = strata.sizes[stratum]
    columns = [
        left_out[fold] if own == stratum else np.full(size, by_fold[fold])
        for fold, own in enumerate(strata.of_fold)
    ]
    means = defined_mean(np.stack(columns, 1), 1)
    return means[~np.isnan(means)]
