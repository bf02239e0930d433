"""Average precision as a function of how often each patient is drawn.

Only cuts at a correct detection can change it, so that a ranking of N detections shrinks to its J correct
ones and the number of false ones between them, by patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.metrics.curves.precision_recall import RECALLS
from modise_lightning.metrics.patients.patient_weights import (
    RESAMPLES_AT_A_TIME,
    PatientWeights,
    Positions,
    to_ranks,
)
from modise_lightning.metrics.patients.statistics import Values


@dataclass(frozen=True)
class ScoredDetections:
    """Detections of one class, which are correct, and the lesions that there are.

    Attributes:
        scores: (N,); of equal scores the earlier one ranks higher.
        correct: (N,) whether each is.
        patient: (N,) position of its patient.
        lesions: (P,) true segments of each patient.
    """

    scores: Values
    correct: NDArray[np.bool_]
    patient: Positions
    lesions: Values

    def average_precision(self, weights: Values) -> Values:
        """Give COCO's average precision of resamples as if patients were repeated, (S,).

        Args:
            weights: (S, P).
        """
        order = np.argsort(-self.scores, kind="stable")
        correct, patient = self.correct[order], self.patient[order]
        before = np.cumsum(correct, dtype=np.int64)  # of a false one: how many correct ones rank higher
        num_correct = int(correct.sum())
        false = ~correct & (before < num_correct)  # those behind the last correct one change nothing
        false_entries = patient[false], before[false]
        areas = [
            self._areas(weights[start : start + RESAMPLES_AT_A_TIME], patient[correct], false_entries)
            for start in range(0, len(weights), RESAMPLES_AT_A_TIME)
        ]
        return np.concatenate(areas)

    def _areas(self, weights: Values, correct: Positions, false: tuple[Positions, Positions]) -> Values:
        """Give the areas of some resamples.

        Args:
            weights: (S, P).
            correct: (J,) patient of each correct detection, in the order of their ranks.
            false: Patient of each false one, and how many correct ones rank higher.
        """
        found = np.cumsum(np.take(weights, correct, axis=1), axis=1)  # (S, J), as all of what follows
        shown = found + np.cumsum(PatientWeights(weights).by_column(*false, len(correct)), axis=1)
        lesions = weights @ self.lesions
        envelope = np.zeros((len(weights), len(correct) + 1))
        np.divide(found, shown, out=envelope[:, :-1], where=shown > 0)
        np.maximum.accumulate(envelope[:, ::-1], axis=1, out=envelope[:, ::-1])
        recall = found / np.where(lesions > 0, lesions, 1)[:, None]
        area = np.array(
            [
                own[np.searchsorted(reached, RECALLS, side="left")].mean()
                for own, reached in zip(envelope, recall, strict=True)
            ]
        )
        return np.where(lesions > 0, area, np.nan)

    def beside(self, other: ScoredDetections) -> ScoredDetections:
        """Put another model's detections behind these, with ranks for scores."""
        return ScoredDetections(
            np.concatenate([to_ranks(self.scores), to_ranks(other.scores)]),
            np.concatenate([self.correct, other.correct]),
            np.concatenate([self.patient, other.patient + len(self.lesions)]),
            np.concatenate([self.lesions, other.lesions]),
        )


@dataclass(frozen=True)
class RankedInstances:
    """Average precision of each class.

    Attributes:
        patients: P names, sorted.
        classes: K of them; None for a class whose instances are not told apart.
    """

    patients: tuple[str, ...]
    classes: tuple[ScoredDetections | None, ...]

    def measure(self, weights: Values) -> dict[str, Values]:
        """Give AP; NaN for a class without truth."""
        undefined = np.full(len(weights), np.nan)
        columns = [undefined if each is None else each.average_precision(weights) for each in self.classes]
        return {"AP": np.stack(columns, axis=1)}

    def beside(self, other: RankedInstances) -> RankedInstances:
        """Put another model's detections behind these, with ranks for scores."""
        classes = tuple(
            None if own is None or its is None else own.beside(its)
            for own, its in zip(self.classes, other.classes, strict=True)
        )
        return RankedInstances(self.patients + other.patients, classes)
