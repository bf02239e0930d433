"""Paired comparison of models over the same folds: differences, Wilcoxon's test, bootstrap over patients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation.bootstrap import (
    BootstrapDifference,
    PatientCounts,
    bootstrap_differences,
)
from modise_lightning.reporting.cross_validation.intervals import fold_interval, shared_test_interval
from modise_lightning.reporting.cross_validation.models import METRICS, ModelFolds
from modise_lightning.reporting.cross_validation.table import DatasetTable

_BEST = "best"  # as a reference: the row with the highest mean PQ


@dataclass(frozen=True)
class Comparison:
    """One model against the reference, in one metric, over the folds that both have.

    Attributes:
        model: Row of the table.
        reference: Row that it is compared with.
        metric: Of ``METRICS``.
        differences: Model minus reference of each fold, as fractions.
        mean: Of the differences.
        p_value: Of Wilcoxon's signed-rank test over the folds, two-sided; NaN below two folds. With n folds
            it is at least 2 / 2^n: 0.0625 for five.
        interval: Of the mean difference, from a bootstrap over patients, without the variance between
            trainings; None for a metric that the records do not hold (AP, Dice), or without records.
        interval_with_trainings: Of the mean difference, over trainings and patients; None below two folds,
            and where folds share their test patients, without a bootstrap.
    """

    model: str
    reference: str
    metric: str
    differences: dict[int, float]
    mean: float
    p_value: float
    interval: tuple[float, float] | None
    interval_with_trainings: tuple[float, float] | None


def compare_models(
    table: DatasetTable,
    counts_of: Callable[[ModelFolds, int], PatientCounts],
    *,
    reference: str | None,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
) -> tuple[list[Comparison], list[str]]:
    """Compare every model of a table with one of them.

    Args:
        table: Of one dataset.
        counts_of: Reads what panoptic quality of a model's fold is made of.
        reference: Row to compare with; None takes the first one of the table, ``best`` the one with the
            highest mean PQ.
        bootstrap_samples: Number of resamples of the patients; 0 for no intervals.
        confidence: Of the intervals, in (0, 1).
        seed: Of the resamples.

    Returns:
        Comparisons, and what a reader must know of them, a sentence each.

    Raises:
        UserError: There is no such row, or records contradict their results.
    """
    if len(table.models) < 2:
        return [], []
    chosen = choose_reference(table.models, reference)
    comparisons: list[Comparison] = []
    notes = [_reference_note(table.models, reference, chosen)]
    if len({row.threshold for row in table.models}) > 1:
        notes.append("The models are at different T (threshold=each): these are no differences at one T.")
    for row in table.models:
        if row is chosen:
            continue
        folds = sorted(set(row.runs) & set(chosen.runs))
        left_out = sorted((set(row.runs) | set(chosen.runs)) - set(folds))
        if left_out:
            what = ", ".join(map(str, left_out))
            notes.append(f"{row.label} against {chosen.label}: only one of them has fold {what}; left out.")
        if not folds:
            continue
        intervals: dict[str, BootstrapDifference] = {}
        if bootstrap_samples:
            counts, reason = _paired_counts(row, chosen, folds, counts_of)
            if reason is None:
                intervals = bootstrap_differences(
                    counts, samples=bootstrap_samples, confidence=confidence, seed=seed
                )
            else:
                notes.append(f"{row.label} against {chosen.label}: no bootstrap interval, {reason}.")
        for metric in METRICS:
            differences, left_out_classes = _differences(row, chosen, metric, folds)
            comparisons.append(
                _compare(
                    table, row.label, chosen.label, metric, differences, intervals.get(metric), confidence
                )
            )
            notes += [
                f"{row.label} against {chosen.label}, {metric}: fold {fold} is compared without "
                f"{', '.join(names)}, which only one of them has in its mean."
                for fold, names in left_out_classes.items()
            ]
    return comparisons, notes


def choose_reference(models: Sequence[ModelFolds], reference: str | None) -> ModelFolds:
    """Choose the row that others are compared with.

    Args:
        models: Rows of a table.
        reference: Its label; None takes the first one, ``best`` the one with the highest mean PQ.

    Raises:
        UserError: There is no such row.
    """
    if reference is None:
        return models[0]
    for row in models:
        if row.label == reference:
            return row
    if reference == _BEST:
        means = [row.summary("PQ").mean for row in models]
        return models[int(np.argmax([-math.inf if math.isnan(mean) else mean for mean in means]))]
    labels = ", ".join(row.label for row in models)
    raise UserError(
        f"comparison.reference: no row '{reference}'; the table has {labels}; {_BEST} takes the highest PQ."
    )


def _reference_note(models: Sequence[ModelFolds], reference: str | None, chosen: ModelFolds) -> str:
    if reference is None:
        return (
            f"Reference: {chosen.label}, the table's first row whatever the results (comparison.reference)."
        )
    if reference == _BEST and all(row.label != _BEST for row in models):
        return (
            f"Reference: {chosen.label}, chosen after the fact for its PQ: p and the intervals make the "
            "others look worse than they are."
        )
    return f"Reference: {chosen.label}, as set (comparison.reference)."


def _differences(
    row: ModelFolds, reference: ModelFolds, metric: str, folds: Sequence[int]
) -> tuple[dict[int, float], dict[int, list[str]]]:
    """Compare each fold over the classes that both means are over.

    A class without truth is part of the mean of a model that predicts it, and of no other's.

    Returns:
        Differences by fold, and the classes that were left out of a fold.
    """
    own, other = row.values(metric), reference.values(metric)
    differences: dict[int, float] = {}
    left_out: dict[int, list[str]] = {}
    for fold in folds:
        one_sided = sorted(set(row.classes(metric, fold)) ^ set(reference.classes(metric, fold)))
        if not one_sided:
            differences[fold] = own[fold] - other[fold]
            continue
        left_out[fold] = one_sided
        shared = [name for name in row.classes(metric, fold) if name not in one_sided]
        values = [
            row.values_of_category(metric, name)[fold] - reference.values_of_category(metric, name)[fold]
            for name in shared
        ]
        differences[fold] = statistics.fmean(values) if values else math.nan
    return differences, left_out


def _compare(
    table: DatasetTable,
    model: str,
    reference: str,
    metric: str,
    differences: dict[int, float],
    bootstrap: BootstrapDifference | None,
    confidence: float,
) -> Comparison:
    defined = [value for value in differences.values() if not math.isnan(value)]
    if table.data_split != "official":
        with_trainings = fold_interval(defined, confidence=confidence, num_folds=len(table.folds))
    elif bootstrap is None:
        with_trainings = None
    else:
        with_trainings = shared_test_interval(
            defined, confidence=confidence, patient_deviation=bootstrap.deviation
        )
    return Comparison(
        model=model,
        reference=reference,
        metric=metric,
        differences=differences,
        mean=statistics.fmean(defined) if defined else math.nan,
        p_value=_signed_rank_test(defined),
        interval=None if bootstrap is None else (bootstrap.low, bootstrap.high),
        interval_with_trainings=with_trainings,
    )


def _signed_rank_test(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return math.nan
    if not any(differences):
        return 1.0  # nothing speaks for a difference; scipy gives NaN
    return float(wilcoxon(differences).pvalue)


def _paired_counts(
    row: ModelFolds,
    reference: ModelFolds,
    folds: Sequence[int],
    counts_of: Callable[[ModelFolds, int], PatientCounts],
) -> tuple[list[tuple[PatientCounts, PatientCounts]], str | None]:
    """Read the records of both models' folds; or say why there is nothing to compare."""
    pairs = []
    for fold in folds:
        for model in (row, reference):
            if not model.records_folder(fold).is_dir():
                return [], f"fold {fold} has no records ({model.records_folder(fold)})"
            if model.runs[fold].identity.matching is None:
                return [], f"the results of fold {fold} do not say how segments were matched"
        own, its = counts_of(row, fold), counts_of(reference, fold)
        if own.image_ids != its.image_ids:
            return [], f"in fold {fold} they were not tested on the same images"
        pairs.append((own, its))
    return pairs, None
