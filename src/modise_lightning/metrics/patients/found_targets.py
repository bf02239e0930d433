"""The free-response operating characteristic as a function of how often each patient is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modise_lightning.metrics.patients.patient_weights import PatientWeights, Positions, to_ranks
from modise_lightning.metrics.patients.statistics import Values

_CUTS_AT_A_TIME = 128  # most of them let far more through than any rate, and are never looked at


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
        by_patient = PatientWeights(weights)
        allowed = self._cuts_within_rates(-cuts, by_patient)
        most = max((int(own.max(initial=0)) for own in allowed), default=0)
        used = cut < most
        hits = np.zeros((len(weights), most + 1))
        hit = by_patient.by_column(self.target_patient[found][used], cut[used], most)
        np.cumsum(hit, axis=1, out=hits[:, 1:])
        targets = weights @ np.bincount(self.target_patient, minlength=len(self.patients)).astype(np.float64)
        defined = (targets > 0) & (weights @ self.exposure > 0)
        values = {}
        for limit, own in zip(self.rates, allowed, strict=True):
            reached = hits[np.arange(len(weights)), own]
            values[f"{self.name} at {limit:g}"] = np.where(
                defined, reached / np.where(targets > 0, targets, 1), np.nan
            )
        values[f"{self.name}, mean"] = np.mean(list(values.values()), axis=0)
        return {name: column[:, None] for name, column in values.items()}

    def _cuts_within_rates(self, cuts: Values, by_patient: PatientWeights) -> list[Positions]:
        """Count the cuts, from the strictest of (J,), that let no more through than each rate: (S,) each."""
        # A false positive is let through by the first cut that is not above it.
        passed = np.searchsorted(-cuts, -self.false_score)
        if len(cuts) < 2**16:
            passed = passed.astype(np.uint16)  # which NumPy sorts many times as fast
        order = np.argsort(passed, kind="stable")
        passed, patients = passed[order], self.false_patient[order]
        exposure = by_patient.values @ self.exposure
        exposure = np.where(exposure > 0, exposure, np.nan)
        allowed = [np.zeros(len(exposure), dtype=np.int64) for _ in self.rates]
        before = np.zeros(len(exposure))
        for start in range(0, len(cuts), _CUTS_AT_A_TIME):
            stop = min(start + _CUTS_AT_A_TIME, len(cuts))
            own = slice(*np.searchsorted(passed, [start, stop]))
            through = by_patient.by_column(patients[own], passed[own].astype(np.int64) - start, stop - start)
            until = before[:, None] + np.cumsum(through, axis=1)
            rate = until / exposure[:, None]
            for count, limit in zip(allowed, self.rates, strict=True):
                count += (rate <= limit).sum(1)
            before = until[:, -1]
            # Laxer cuts let more through, so that nothing gets back within a rate.
            if not (rate[:, -1] <= max(self.rates)).any():
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
