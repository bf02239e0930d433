"""Ranked metrics as functions of how often each patient is drawn: average precision, FROC, areas of cases.

Only cuts at a correct detection can change them, so that a ranking of N detections shrinks to its J correct
ones and the number of false ones between them, by patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

from modise_lightning.metrics.curves.precision_recall import RECALLS
from modise_lightning.metrics.patients.statistics import Values
from modise_lightning.metrics.patients.weighted_ranking import OperatingPoints

Positions = NDArray[np.int64]
_SPARSE = 10  # measured: with fewer than one entry in ten, a sparse product is faster
_RESAMPLES_AT_A_TIME = 128  # so that the numbers of thousands of detections stay in the cache
_CUTS_AT_A_TIME = 128  # most of them let far more through than any rate, and are never looked at


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
            self._areas(weights[start : start + _RESAMPLES_AT_A_TIME], patient[correct], false_entries)
            for start in range(0, len(weights), _RESAMPLES_AT_A_TIME)
        ]
        return np.concatenate(areas)

    def _areas(self, weights: Values, correct: Positions, false: tuple[Positions, Positions]) -> Values:
        """Give the areas of some resamples.

        Args:
            weights: (S, P).
            correct: (J,) patient of each correct detection, in the order of their ranks.
            false: Patient of each false one, and how many correct ones rank higher.
        """
        found = np.cumsum(weights.T[correct], axis=0)  # (J, S), as all of what follows
        wrong = np.cumsum(_weigh(weights, *false, len(correct)), axis=0)
        lesions = weights @ self.lesions
        shown = found + wrong
        envelope = np.zeros((len(correct) + 1, len(weights)))
        np.divide(found, shown, out=envelope[:-1], where=shown > 0)
        np.maximum.accumulate(envelope[::-1], axis=0, out=envelope[::-1])
        recall = found / np.where(lesions > 0, lesions, 1)
        area = np.array(
            [
                own[np.searchsorted(reached, RECALLS, side="left")].mean()
                for own, reached in zip(envelope.T, recall.T, strict=True)
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


@dataclass(frozen=True)
class FoundTargets:
    """The free-response operating characteristic: targets found against false positives.

    Attributes:
        name: What is found, in the names of the numbers.
        patients: P names, sorted.
        rates: False positives an exposure at which the sensitivity is read, R of them.
        target_patient: (M,) position of the patient of each target, a lesion or a case.
        found_at: (M,) highest score of a detection that hits it; -inf where none does.
        false_patient: (F,) position of the patient of each false positive.
        false_score: (F,).
        exposure: (P,) images (or normal images) of each patient, which false positives are counted by.
    """

    name: str
    patients: tuple[str, ...]
    rates: tuple[float, ...]
    target_patient: Positions
    found_at: Values
    false_patient: Positions
    false_score: Values
    exposure: Values

    def measure(self, weights: Values) -> dict[str, Values]:
        """Give the highest sensitivity at each rate, and their mean (LUNA16, Setio et al. 2017)."""
        found = np.isfinite(self.found_at)
        cuts, cut = np.unique(-self.found_at[found], return_inverse=True)  # J, the strictest first
        allowed = self._cuts_within_rates(-cuts, weights)
        most = max((int(own.max(initial=0)) for own in allowed), default=0)
        used = cut < most
        hits = np.zeros((most + 1, len(weights)))
        np.cumsum(_weigh(weights, self.target_patient[found][used], cut[used], most), axis=0, out=hits[1:])
        targets = weights @ np.bincount(self.target_patient, minlength=len(self.patients)).astype(np.float64)
        defined = (targets > 0) & (weights @ self.exposure > 0)
        values = {}
        for limit, own in zip(self.rates, allowed, strict=True):
            reached = hits[own, np.arange(len(weights))]
            values[f"{self.name} at {limit:g}"] = np.where(
                defined, reached / np.where(targets > 0, targets, 1), np.nan
            )
        values[f"{self.name}, mean"] = np.mean(list(values.values()), axis=0)
        return {name: column[:, None] for name, column in values.items()}

    def _cuts_within_rates(self, cuts: Values, weights: Values) -> list[Positions]:
        """Count the cuts, from the strictest of (J,), that let no more through than each rate: (S,) each."""
        # A false positive is let through by the first cut that is not above it.
        passed = np.searchsorted(-cuts, -self.false_score)
        if len(cuts) < 2**16:
            passed = passed.astype(np.uint16)  # which NumPy sorts many times as fast
        order = np.argsort(passed, kind="stable")
        passed, patients = passed[order], self.false_patient[order]
        exposure = weights @ self.exposure
        exposure = np.where(exposure > 0, exposure, np.nan)
        allowed = [np.zeros(len(weights), dtype=np.int64) for _ in self.rates]
        before = np.zeros(len(weights))
        for start in range(0, len(cuts), _CUTS_AT_A_TIME):
            stop = min(start + _CUTS_AT_A_TIME, len(cuts))
            own = slice(*np.searchsorted(passed, [start, stop]))
            until = np.cumsum(
                _weigh(weights, patients[own], passed[own].astype(np.int64) - start, stop - start), axis=0
            )
            rate = (until + before) / exposure
            for count, limit in zip(allowed, self.rates, strict=True):
                count += (rate <= limit).sum(0)
            before = before + until[-1]
            # Laxer cuts let more through, so that no row gets back within a rate.
            if not (rate[-1] <= max(self.rates)).any():
                break
        return allowed

    def beside(self, other: FoundTargets) -> FoundTargets:
        """Put another model's targets and false positives behind these, with ranks for scores."""
        own, its = self._with_ranks(), other._with_ranks()
        after = len(self.patients)
        return FoundTargets(
            self.name,
            self.patients + other.patients,
            self.rates,
            np.concatenate([own.target_patient, its.target_patient + after]),
            np.concatenate([own.found_at, its.found_at]),
            np.concatenate([own.false_patient, its.false_patient + after]),
            np.concatenate([own.false_score, its.false_score]),
            np.concatenate([own.exposure, its.exposure]),
        )

    def _with_ranks(self) -> FoundTargets:
        found = np.isfinite(self.found_at)
        ranks = to_ranks(np.concatenate([self.found_at[found], self.false_score]))
        found_at = self.found_at.copy()
        found_at[found] = ranks[: found.sum()]
        return FoundTargets(
            self.name,
            self.patients,
            self.rates,
            self.target_patient,
            found_at,
            self.false_patient,
            ranks[found.sum() :],
            self.exposure,
        )


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
        points = OperatingPoints.of(self.scores, self.positive, weights.T[self.patient].T)
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
        return {f"{self.name} {key}": column[:, None] for key, column in values.items()}

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


def to_ranks(scores: Values) -> Values:
    """Replace scores by minus their rank from the top; equal scores share the mean of theirs."""
    return -np.asarray(rankdata(-scores), dtype=np.float64)


def positions_in(patients: tuple[str, ...], names: Sequence[str]) -> Positions:
    """Find the position of each name among sorted patients that hold it."""
    return np.asarray(np.searchsorted(np.asarray(patients, dtype=np.str_), np.asarray(names, dtype=np.str_)))


def _weigh(weights: Values, patient: Positions, column: Positions, num_columns: int) -> Values:
    """Add up, of each column, the weights of the patients who are in it.

    Args:
        weights: (S, P).
        patient: (N,) position of each entry's patient, who may come again.
        column: (N,) of each entry.
        num_columns: C of them.

    Returns:
        (C, S).
    """
    shape = (num_columns, weights.shape[1])
    if _SPARSE * len(patient) < shape[0] * shape[1]:
        return np.asarray(csr_array((np.ones(len(patient)), (column, patient)), shape) @ weights.T)
    flat = np.bincount(column * shape[1] + patient, minlength=shape[0] * shape[1])
    return np.asarray(flat.reshape(shape).astype(np.float64) @ weights.T)
