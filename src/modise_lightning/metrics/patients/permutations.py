"""Tests over patients: random exchanges of two models' results, and Holm's correction for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modise_lightning.metrics.patients.resampling import Folds, Strata
from modise_lightning.metrics.patients.statistics import Values, defined_mean


class PermutationTest:
    """Tests whether two models differ, by exchanging their results of randomly chosen patients.

    If the models were equally good, it would not matter whose results are whose. Numbers of scores are
    compared by ranks within each model and fold, since trainings have no common scale.
    """

    def __init__(self, *, samples: int, seed: int) -> None:
        """Draw when the first statistics come.

        Args:
            samples: Random exchanges; p cannot be below 1 / (samples + 1).
            seed: Of the exchanges, which are alike for all statistics of the same patients.
        """
        self.samples = samples
        self.seed = seed
        self._last: tuple[tuple[int, ...], list[Values]] = ((), [])

    def p_values(self, folds: Folds, other: Folds) -> dict[str, float]:
        """Compare two models.

        Args:
            folds: A model's statistics, one a fold.
            other: Another one's on the same patients.

        Returns:
            By number, the two-sided p; NaN where the difference is undefined.
        """
        strata = Strata.of([fold.patients for fold in folds])
        kept = self._kept(strata)
        by_fold: dict[str, list[Values]] = {}
        for own, its, stratum in zip(folds, other, strata.of_fold, strict=True):
            both = own.beside(its)
            stays = kept[stratum]
            first = both.measure(np.hstack([stays, 1 - stays]))
            second = both.measure(np.hstack([1 - stays, stays]))
            for name, values in first.items():
                by_fold.setdefault(name, []).append(defined_mean(values - second[name], 1))
        return {name: self._p_value(np.stack(values)) for name, values in by_fold.items()}

    def _p_value(self, by_fold: Values) -> float:
        """Compare the mean over folds of (F, 1 + S) differences with the first one of them."""
        differences = defined_mean(by_fold, 0)
        if np.isnan(differences[0]):
            return np.nan
        # Rounding must not make an exchange that changes nothing smaller than the observed one.
        extreme = np.abs(differences[1:]) >= np.abs(differences[0]) * (1 - 1e-12) - 1e-12
        return float((1 + extreme.sum()) / (1 + self.samples))

    def _kept(self, strata: Strata) -> list[Values]:
        """Give who of each stratum's patients keeps the own results: (1 + S, P) of 1 and 0, at first all."""
        sizes, kept = self._last
        if sizes != strata.sizes:
            generator = np.random.default_rng(self.seed)
            drawn = [generator.integers(0, 2, (self.samples, size)) for size in strata.sizes]
            kept = [np.concatenate([np.ones((1, own.shape[1])), own]) for own in drawn]
            self._last = (strata.sizes, kept)
        return kept


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p for the number of comparisons, step by step (Holm 1979); NaN is no comparison.

    Args:
        p_values: Of all comparisons that are shown together.

    Returns:
        Corrected ones, in the same order; a comparison holds at a level if its corrected p is not above it.
    """
    order = sorted((index for index, p in enumerate(p_values) if not np.isnan(p)), key=p_values.__getitem__)
    corrected = [float("nan")] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
