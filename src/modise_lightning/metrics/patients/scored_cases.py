"""Areas under the curves of breasts or patients as functions of how often each patient is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.metrics.patients.patient_weights import RESAMPLES_AT_A_TIME, Positions, to_ranks
from modise_lightning.metrics.patients.statistics import Values
from modise_lightning.metrics.patients.weighted_ranking import OperatingPoints


@dataclass(frozen=True)
class ScoredCases:
    """Breasts or patients with a score and a truth.

    Attributes:
        name: What a case is, in the names of the numbers.
        patients: P names, sorted.
        patient: (N,) position of the patient of each case.
        scores: (N,).
        positive: (N,).
        low_rate: The partial area at few false positives ends at this false-positive rate.
        high_sensitivity: The partial area at high sensitivity begins at this sensitivity.
        specificities: At which sensitivities are read.
    """

    name: str
    patients: tuple[str, ...]
    patient: Positions
    scores: Values
    positive: NDArray[np.bool_]
    low_rate: float
    high_sensitivity: float
    specificities: tuple[float, ...]

    def measure(self, weights: Values) -> dict[str, Values]:
        """Give the areas and the sensitivities."""
        parts = [
            self._measure(weights[start : start + RESAMPLES_AT_A_TIME])
            for start in range(0, len(weights), RESAMPLES_AT_A_TIME)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:, None] for name in parts[0]}

    def _measure(self, weights: Values) -> dict[str, Values]:
        points = OperatingPoints.of(self.scores, self.positive, np.take(weights, self.patient, axis=1))
        values = {
            "AUC": points.roc_area(),
            f"pAUC FPR ≤ {self.low_rate:g}": points.partial_area_at_low_rate(self.low_rate),
            f"pAUC sensitivity ≥ {self.high_sensitivity:g}": points.partial_area_at_high_sensitivity(
                self.high_sensitivity
            ),
            "PR area": points.precision_recall_area(),
            **{
                f"sensitivity at {100 * each:g} % specificity": points.sensitivity_at_specificity(each)
                for each in self.specificities
            },
        }
        return {f"{self.name} {key}": column for key, column in values.items()}

    def beside(self, other: ScoredCases) -> ScoredCases:
        """Put another model's cases behind these, with ranks for scores (Venkatraman and Begg 1996)."""
        return ScoredCases(
            self.name,
            self.patients + other.patients,
            np.concatenate([self.patient, other.patient + len(self.patients)]),
            np.concatenate([to_ranks(self.scores), to_ranks(other.scores)]),
            np.concatenate([self.positive, other.positive]),
            self.low_rate,
            self.high_sensitivity,
            self.specificities,
        )
