"""Paired comparison of models over the same folds: differences, Wilcoxon's test, bootstrap over patients."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation import DatasetTable
from modise_lightning.reporting.cross_validation_bootstrap import PatientCounts, bootstrap_differences
from modise_lightning.reporting.cross_validation_models import METRICS, ModelFolds


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
        interval: Of the mean difference, from a bootstrap over patients; None for a metric that the records
            do not hold (AP, Dice), or without records.
    """

    model: str
    reference: str
    metric: str
    differences: dict[int, float]
    mean: float
    p_value: float
    interval: tuple[float, float] | None


def compare_models(
    table: DatasetTable, *, reference: str | None, bootstrap_samples: int, confidence: float, seed: int
) -> tuple[list[Comparison], list[str]]:
    """Compare every model of a table with one of them.

    Args:
        table: Of one dataset.
        reference: Row to compare with; None takes the one with the highest mean PQ.
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
    chosen = _reference(table.models, reference)
    comparisons: list[Comparison] = []
    notes: list[str] = []
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
        intervals: dict[str, tuple[float, float]] = {}
        if bootstrap_samples:
            counts, reason = _paired_counts(row, chosen, folds)
            if reason is None:
                intervals = bootstrap_differences(
                    counts, samples=bootstrap_samples, confidence=confidence, seed=seed
                )
            else:
                notes.append(f"{row.label} against {chosen.label}: no bootstrap interval, {reason}.")
        comparisons += [_compare(row, chosen, metric, folds, intervals.get(metric)) for metric in METRICS]
    return comparisons, notes


def _reference(models: Sequence[ModelFolds], reference: str | None) -> ModelFolds:
    if reference is None:
        means = [row.summary("PQ").mean for row in models]
        return models[int(np.argmax([-math.inf if math.isnan(mean) else mean for mean in means]))]
    for row in models:
        if row.label == reference:
            return row
    labels = ", ".join(row.label for row in models)
    raise UserError(f"comparison.reference: no row '{reference}'; the table has {labels}.")


def _compare(
    row: ModelFolds,
    reference: ModelFolds,
    metric: str,
    folds: Sequence[int],
    interval: tuple[float, float] | None,
) -> Comparison:
    own, other = row.values(metric), reference.values(metric)
    differences = {fold: own[fold] - other[fold] for fold in folds}
    defined = [value for value in differences.values() if not math.isnan(value)]
    return Comparison(
        model=row.label,
        reference=reference.label,
        metric=metric,
        differences=differences,
        mean=statistics.fmean(defined) if defined else math.nan,
        p_value=_signed_rank_test(defined),
        interval=interval,
    )


def _signed_rank_test(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return math.nan
    if not any(differences):
        return 1.0  # nothing speaks for a difference; scipy gives NaN
    return float(wilcoxon(differences).pvalue)


def _paired_counts(
    row: ModelFolds, reference: ModelFolds, folds: Sequence[int]
) -> tuple[list[tuple[PatientCounts, PatientCounts]], str | None]:
    """Read the records of both models; or say why there is nothing to compare."""
    pairs = []
    for fold in folds:
        both = []
        for model in (row, reference):
            run = model.runs[fold]
            folder = run.folder / "records" / model.model.replace(" ", "_")
            if not folder.is_dir():
                return [], f"fold {fold} has no records ({folder})"
            if run.identity.matching is None:
                return [], f"the results of fold {fold} do not say how segments were matched"
            both.append(
                PatientCounts.read(
                    folder,
                    run.results[model.model],
                    threshold=model.threshold,
                    matching=run.identity.matching,
                )
            )
        if both[0].image_ids != both[1].image_ids:
            return [], f"in fold {fold} they were not tested on the same images"
        pairs.append((both[0], both[1]))
    return pairs, None
