"""Every number of every model with its interval over patients, and its difference from the reference.

Runs of ``metrics=paper`` have PQ, RQ, SQ, their areas over T, AP and Dice; those of ``metrics=clinical`` all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modise_lightning.metrics.clinical.record_statistics import FoldStatistics
from modise_lightning.metrics.clinical.result import ClinicalResult
from modise_lightning.metrics.clinical.strata import Stratum, pool_strata
from modise_lightning.metrics.patients.permutations import PermutationTest, holm
from modise_lightning.metrics.patients.resampling import Bootstrap, Interval, Resampled
from modise_lightning.metrics.patients.statistics import PatientStatistic, measure_once
from modise_lightning.reporting.clinical.model_folds import (
    StatisticsReader,
    check_settings,
    result_of,
    with_clinical_results,
)
from modise_lightning.reporting.cross_validation.comparison import choose_reference
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable


@dataclass(frozen=True)
class Difference:
    """A number of a model minus the reference's, over the folds that both have.

    Attributes:
        interval: Paired, over patients.
        p_value: Of the permutation test over patients; NaN where the difference is undefined.
        corrected: The same, corrected by Holm for all differences that tables show; NaN of the others.
    """

    interval: Interval
    p_value: float
    corrected: float


@dataclass(frozen=True)
class ClinicalModel:
    """A model's numbers.

    Attributes:
        label: In the tables.
        intervals: By number.
        differences: From the reference, by number; none for the reference.
        undefined: Why a number has no value, or a group of numbers is missing, by name and then by fold.
        strata: Of all folds together.
        counts: Of all folds together.
    """

    label: str
    intervals: dict[str, Interval]
    differences: dict[str, Difference]
    undefined: dict[str, dict[int, str]]
    strata: list[Stratum]
    counts: dict[str, int]


def measure_models(
    table: DatasetTable, comparison: ComparisonSettings, reader: StatisticsReader
) -> tuple[list[ClinicalModel], list[str]]:
    """Measure the models whose runs have records.

    Args:
        table: Of one dataset.
        comparison: Resamples, confidence and reference.
        reader: Of the records.

    Returns:
        Models, none where no run has records; and what a reader must know, a sentence each.

    Raises:
        UserError: Runs were measured with different settings, or records contradict results.
    """
    clinical = with_clinical_results(table)
    if clinical:
        check_settings(clinical)
    rows, notes = _with_records(table.models)
    if not rows:
        return [], []
    if clinical:
        notes += [
            f"{row.label} was evaluated without metrics=clinical: it has few of these numbers."
            for row in rows
            if row not in clinical
        ]
    folds = {row.label: {fold: reader.statistics(row, fold) for fold in row.runs} for row in rows}
    reference = choose_reference(table.models, comparison.reference)
    if reference not in rows:
        reference = rows[0]
    is_drawn = comparison.bootstrap_samples > 0
    bootstrap = Bootstrap(
        samples=max(1, comparison.bootstrap_samples), confidence=comparison.confidence, seed=comparison.seed
    )
    test = PermutationTest(samples=bootstrap.samples, seed=bootstrap.seed)
    measured = {label: _Measured.of(own, bootstrap) for label, own in folds.items()}
    models = []
    for row in rows:
        own = folds[row.label]
        differences: dict[str, Difference] = {}
        if row is not reference and is_drawn:
            differences, reason = _differences(
                measured[row.label], measured[reference.label], bootstrap, test
            )
            notes += [f"{row.label} against {reference.label}: {reason}."] if reason else []
            left_out = sorted(set(row.runs) ^ set(reference.runs))
            if left_out and differences:
                numbers = ", ".join(map(str, left_out))
                notes.append(
                    f"{row.label} against {reference.label}: only one of them has fold {numbers}; left out."
                )
        results = [result_of(row, fold) for fold in row.runs] if row in clinical else []
        models.append(
            ClinicalModel(
                label=row.label,
                intervals=_intervals(measured[row.label], bootstrap, is_drawn=is_drawn),
                differences=differences,
                undefined=_undefined(own),
                strata=pool_strata([each.strata for each in results]),
                counts=_counts(row, results, own),
            )
        )
    if any(model.differences for model in models):
        notes.append(f"Differences are from {reference.label}.")
    return _corrected(models), notes


def _with_records(rows: Sequence[ModelFolds]) -> tuple[list[ModelFolds], list[str]]:
    """Leave out models without records, or of which it is not known how segments were matched."""
    kept, notes = [], []
    for row in rows:
        missing = [fold for fold in row.runs if not row.records_folder(fold).is_dir()]
        unknown = [fold for fold, run in row.runs.items() if run.identity.matching is None]
        if missing:
            notes.append(
                f"{row.label} has no records of fold {', '.join(map(str, missing))} "
                f"({row.records_folder(missing[0])}): no intervals."
            )
        elif unknown:
            notes.append(f"{row.label} is of an older version, which did not say its matching: no intervals.")
        else:
            kept.append(row)
    return kept, notes


def _counts(
    row: ModelFolds, results: Sequence[ClinicalResult], folds: Mapping[int, FoldStatistics]
) -> dict[str, int]:
    """Count over all folds what was evaluated."""
    if results:
        return {name: sum(each.counts[name] for each in results) for name in results[0].counts}
    patients = [len(next(iter(fold.statistics.values())).patients) for fold in folds.values()]
    images = [result.num_images for result in row.results.values()]
    return {"images": sum(images), "patients": sum(patients)}


def shown_numbers(models: Sequence[ClinicalModel]) -> list[str]:
    """Give the numbers that tables show, in order; of FROC few of the rates, rules and exposures.

    Args:
        models: Of one dataset.
    """
    names = list(dict.fromkeys(name for model in models for name in model.intervals))
    curves = [name for name in names if name.startswith("FROC ")]
    first_rule = curves[0].split()[1] if curves else ""
    chosen = []
    for name in names:
        if name in curves:
            is_mean = name.endswith(", mean")
            usual = name.startswith((f"FROC {first_rule} per image", f"FROC {first_rule} per normal image"))
            if not (is_mean or (usual and name.endswith(" at 1"))) or (not usual and "normal" in name):
                continue
        chosen.append(name)
    return chosen


def _groups(folds: Mapping[int, FoldStatistics]) -> dict[str, dict[int, PatientStatistic]]:
    """Give the folds that have each group of numbers."""
    names = dict.fromkeys(name for fold in folds.values() for name in fold.statistics)
    return {
        name: {
            number: fold.statistics[name] for number, fold in sorted(folds.items()) if name in fold.statistics
        }
        for name in names
    }


@dataclass(frozen=True)
class _Measured:
    """A model's statistics, and what became of them in the resamples, by group of numbers."""

    folds: Mapping[int, FoldStatistics]
    groups: dict[str, dict[int, PatientStatistic]]
    resampled: dict[str, Resampled]

    @classmethod
    def of(cls, folds: Mapping[int, FoldStatistics], bootstrap: Bootstrap) -> _Measured:
        groups = _groups(folds)
        resampled = {name: bootstrap.measure(list(own.values())) for name, own in groups.items()}
        return cls(folds, groups, resampled)

    def of_folds(self, name: str, folds: Sequence[int], bootstrap: Bootstrap) -> Resampled:
        """Give a group in some of its folds; all of them are measured already."""
        own = self.groups[name]
        return (
            self.resampled[name] if list(own) == folds else bootstrap.measure([own[fold] for fold in folds])
        )


def _intervals(measured: _Measured, bootstrap: Bootstrap, *, is_drawn: bool) -> dict[str, Interval]:
    intervals: dict[str, Interval] = {}
    for resampled in measured.resampled.values():
        intervals |= bootstrap.intervals(resampled)
    if is_drawn:
        return intervals
    nothing = (math.nan, math.nan)
    return {
        name: replace(each, percentile=nothing, bca=nothing, deviation=math.nan)
        for name, each in intervals.items()
    }


def _differences(
    own: _Measured, other: _Measured, bootstrap: Bootstrap, test: PermutationTest
) -> tuple[dict[str, Difference], str | None]:
    shared = sorted(set(own.folds) & set(other.folds))
    if not shared:
        return {}, "they have no fold in common"
    for fold in shared:
        patients = [next(iter(each.folds[fold].statistics.values())).patients for each in (own, other)]
        if patients[0] != patients[1]:
            return {}, f"fold {fold} was not tested on the same patients; no differences"
    differences = {}
    for name, statistics in own.groups.items():
        theirs = other.groups.get(name, {})
        both = [fold for fold in statistics if fold in theirs]
        if not both:
            continue
        p_values = test.p_values([statistics[fold] for fold in both], [theirs[fold] for fold in both])
        first, second = (each.of_folds(name, both, bootstrap) for each in (own, other))
        for number, interval in bootstrap.intervals(first, minus=second).items():
            differences[number] = Difference(interval, p_values[number], math.nan)
    return differences, None


def _corrected(models: Sequence[ClinicalModel]) -> list[ClinicalModel]:
    """Correct p for all differences that tables show, together; the others have no corrected one."""
    shown = set(shown_numbers(models))
    p_values = {
        (model.label, number): each.p_value
        for model in models
        for number, each in model.differences.items()
        if number in shown
    }
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        replace(
            model,
            differences={
                number: replace(each, corrected=corrected.get((model.label, number), math.nan))
                for number, each in model.differences.items()
            },
        )
        for model in models
    ]


def _undefined(folds: Mapping[int, FoldStatistics]) -> dict[str, dict[int, str]]:
    """Say of each number and fold why it has no value there, and of each group why it is missing."""
    reasons: dict[str, dict[int, str]] = {}
    groups = dict.fromkeys(group for fold in folds.values() for group in fold.statistics)
    for number, fold in sorted(folds.items()):
        for group in groups:
            if group not in fold.statistics and group not in fold.missing:
                # A distance in another unit, or in none.
                reasons.setdefault(group, {})[number] = "this fold does not have it"
        for group, reason in fold.missing.items():
            reasons.setdefault(group, {})[number] = reason
        for group, statistic in fold.statistics.items():
            for name, value in measure_once(statistic).items():
                if math.isnan(value):
                    reasons.setdefault(name, {})[number] = fold.why_undefined[group]
    return reasons
