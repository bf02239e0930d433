"""Operating characteristics of scored cases with weights: areas under curves, sensitivity at a specificity.

A weight is how often a case is drawn, so that one call measures many resamples; weights of 1 measure the
cases themselves. A class without weight leaves a number undefined (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoints:
    """Weights above each cut of the scores, from the strictest (none) to the laxest (all).

    Attributes:
        true: (S, G + 1) weight of the positive cases at or above each of G distinct scores, from 0.
        false: (S, G + 1) likewise of the negative ones.
    """

    true: Values
    false: Values

    @classmethod
    def of(cls, scores: Values, positive: NDArray[np.bool_], weights: Values) -> OperatingPoints:
        """Cut N scored cases at each distinct score; equal scores are cut together.

        Args:
            scores: (N,).
            positive: (N,).
            weights: (S, N), not negative.
        """
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        last_of_equals = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], np.ones(min(1, len(ranked)))))
        own = np.take(weights, order, axis=1)
        true = np.cumsum(own * positive[order], axis=1)
        false = np.cumsum(own * ~positive[order], axis=1)
        start = np.zeros((len(weights), 1))
        true, false = (np.hstack([start, each[:, last_of_equals]]) for each in (true, false))
        return cls(true, false)

    @property
    def sensitivity(self) -> Values:
        """(S, G + 1) share of the positive cases; NaN without any."""
        return _share(self.true)

    @property
    def false_positive_rate(self) -> Values:
        """(S, G + 1) share of the negative cases; NaN without any."""
        return _share(self.false)

    def roc_area(self) -> Values:
        """Area under the ROC curve, (S,): the chance that a positive case scores higher (ties: one half)."""
        area = np.asarray(np.trapezoid(self.sensitivity, self.false_positive_rate, axis=1))
        return _where(self.true, _where(self.false, area))

    def partial_area_at_low_rate(self, most: float) -> Values:
        """Area under the ROC curve up to a false-positive rate, standardised as by McClish (1989).

        0.5 is chance and 1 is perfect, whatever the range; scikit-learn's ``roc_auc_score(max_fpr=...)``.

        Args:
            most: Highest false-positive rate, in (0, 1].

        Returns:
            (S,).
        """
        area = _standardised_partial_area(self.false_positive_rate, self.sensitivity, most)
        return _where(self.true, _where(self.false, area))

    def partial_area_at_high_sensitivity(self, least: float) -> Values:
        """Area between the ROC curve and full specificity above a sensitivity, standardised likewise.

        It is the partial area of the same curve seen from the other class: specificity against the rate of
        misses, up to a rate of misses of 1 - ``least``.

        Args:
            least: Lowest sensitivity, in [0, 1).

        Returns:
            (S,).
        """
        misses, specificity = 1 - self.sensitivity[:, ::-1], 1 - self.false_positive_rate[:, ::-1]
        area = _standardised_partial_area(misses, specificity, 1 - least)
        return _where(self.true, _where(self.false, area))

    def precision_recall_area(self) -> Values:
        """Area under the precision-recall curve as a sum of steps, (S,): scikit-learn's average precision."""
        shown = self.true + self.false
        precision = self.true / np.where(shown > 0, shown, 1)
        return _where(self.true, (np.diff(self.sensitivity, axis=1) * precision[:, 1:]).sum(1))

    def sensitivity_at_specificity(self, specificity: float) -> Values:
        """Give the highest sensitivity, (S,), among the cuts with at least a specificity; none between cuts.

        Args:
            specificity: In [0, 1].
        """
        # Whole weights: 5 of 100 false positives are a specificity of 0.95 whatever the rounding of 0.95.
        allowed = (1 - specificity) * self.false[:, -1:] * (1 + 1e-12) + 1e-12
        best = np.where(self.false <= allowed, self.sensitivity, 0).max(1)
        return _where(self.true, _where(self.false, best))


def _where(weights: Values, values: Values) -> Values:
    """Keep the values (S,) where a class has any weight."""
    return np.asarray(np.where(weights[:, -1] > 0, values, np.nan))


def _share(weights: Values) -> Values:
    total = weights[:, -1:]
    return np.asarray(weights / np.where(total > 0, total, np.nan))


def _standardised_partial_area(x: Values, y: Values, most: float) -> Values:
    """Integrate a rising curve from 0 to ``most`` and scale it: 0.5 for the diagonal, 1 for the most (S,)."""
    width = np.diff(x, axis=1)
    inside = np.clip(most - x[:, :-1], 0, width)
    # A trapezoid that is cut on its right side.
    reached = y[:, :-1] + np.diff(y, axis=1) * inside / np.where(width > 0, width, 1)
    area = (inside * (y[:, :-1] + reached) / 2).sum(1)
    chance = most**2 / 2
    return np.asarray((1 + (area - chance) / (most - chance)) / 2)
