"""Means and standard deviations over the folds of a cross-validation, a table a dataset."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.errors import UserError
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.reporting.cross_validation.measurement import check_measurements, measurement_notes
from modise_lightning.reporting.cross_validation.models import ModelFolds, Summary, threshold_index
from modise_lightning.reporting.cross_validation.notes import table_notes, unfinished_note
from modise_lightning.reporting.cross_validation.runs import FinishedRun, dataset_key, find_runs
from modise_lightning.reporting.cross_validation.settings import RunSettings


@dataclass(frozen=True)
class DatasetTable:
    """The models that were evaluated on one dataset.

    Attributes:
        dataset: Its name.
        synthetic: Whether its images are.
        digest: Tells datasets of one name apart; None where it is not known.
        data_split: How it is split: ``folds`` or ``official``.
        num_images: Number of images of the dataset; None where it is not known.
        folds: Folds that a complete cross-validation has.
        models: Rows.
        notes: What a reader must know of the numbers, a sentence each.
    """

    dataset: str
    synthetic: bool
    digest: str | None
    data_split: str
    num_images: int | None
    folds: tuple[int, ...]
    models: list[ModelFolds]
    notes: list[str]

    @property
    def category_names(self) -> list[str]:
        """Classes."""
        return next(iter(self.models[0].results.values())).category_names


def gather_tables(settings: RunSettings) -> list[DatasetTable]:
    """Find runs and gather the folds of each model, a table a dataset.

    Args:
        settings: Which runs, and how.

    Raises:
        UserError: There are no runs, those of one table were measured in different ways, or none has the
            wanted models.
    """
    found = find_runs([Path(folder) for folder in settings.runs], settings.same_fold)
    by_dataset: dict[tuple[str, str | None, str], list[FinishedRun]] = defaultdict(list)
    for run in found.finished:
        by_dataset[dataset_key(run.identity)].append(run)
    datasets = {run.identity.dataset for run in found.finished}
    others = [unfinished_note(run) for run in found.unfinished if run.dataset not in datasets]
    tables = []
    for key in sorted(by_dataset, key=str):
        runs = by_dataset[key]
        _check_comparable(runs)
        check_measurements(runs, settings.may_differ)
        identity = runs[0].identity
        rows = _set_thresholds(_rows(runs, settings.models), settings.threshold, settings.threshold_limit)
        folds = tuple(range(identity.num_folds or settings.num_folds))
        unfinished = [run for run in found.unfinished if run.dataset == identity.dataset]
        tables.append(
            DatasetTable(
                dataset=identity.dataset,
                synthetic=identity.synthetic,
                digest=identity.dataset_digest,
                data_split=identity.data_split,
                num_images=identity.num_dataset_images,
                folds=folds,
                models=rows,
                notes=[
                    *table_notes(identity, folds, rows, unfinished),
                    *_threshold_notes(rows),
                    *measurement_notes(runs),
                    *others,
                    *found.notes,
                ],
            )
        )
    return tables


def _rows(runs: list[FinishedRun], models: Sequence[str]) -> list[ModelFolds]:
    by_name: dict[str, dict[int, FinishedRun]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.identity.fold):
        by_name[run.identity.name][run.identity.fold] = run
    rows = []
    for model in models:
        for name, by_fold in sorted(by_name.items()):
            having = {fold: run for fold, run in by_fold.items() if model in run.results}
            if having:
                label = name if model == "trained" else f"{name} ({model})"
                rows.append(ModelFolds(label, model, having, math.nan))
    if not rows:
        known = sorted({model for run in runs for model in run.results})
        raise UserError(f"models: no run has results of {', '.join(models)}; they have {', '.join(known)}.")
    return rows


def _set_thresholds(rows: list[ModelFolds], threshold: float | str, limit: float) -> list[ModelFolds]:
    thresholds = next(iter(rows[0].results.values())).thresholds
    chosen: list[float]
    if isinstance(threshold, str):
        curves = [
            [
                Summary.of([result.panoptic_quality[index] for result in row.results.values()]).mean
                for index in range(len(thresholds))
            ]
            for row in rows
        ]
        if threshold == "common":
            # Baselines have no say, unless there is nothing else.
            trained = [
                curve for row, curve in zip(rows, curves, strict=True) if row.model == "trained"
            ] or curves
            mean = [Summary.of(values).mean for values in zip(*trained, strict=True)]
            curves = [mean] * len(rows)
        chosen = [best_threshold(curve, thresholds, limit) for curve in curves]
    else:
        chosen = [thresholds[threshold_index(next(iter(rows[0].results.values())), threshold)]] * len(rows)
    return [
        ModelFolds(row.label, row.model, row.runs, value) for row, value in zip(rows, chosen, strict=True)
    ]


def _threshold_notes(rows: list[ModelFolds]) -> list[str]:
    if len({row.threshold for row in rows}) == 1:
        return []
    each = ", ".join(f"{row.label} {row.threshold:.2f}" for row in rows)
    return [
        f"The models are at different T, each at its own best one ({each}): RQ, SQ, PQ and AP of different T "
        "are not comparable; threshold=common or a fixed T compares them."
    ]


def _check_comparable(runs: list[FinishedRun]) -> None:
    """Refuse a table of numbers that mean different things."""
    first = runs[0]
    for run in runs:
        for what, value, expected in (
            ("numbers of folds", run.identity.num_folds, first.identity.num_folds),
            *_settings(run, first),
        ):
            if value != expected:
                raise UserError(
                    f"runs: {run.folder} and {first.folder} differ in {what} ({value} and {expected}): their "
                    "numbers cannot stand in one table; give them to two calls."
                )
    by_name: dict[str, FinishedRun] = {}
    for run in runs:
        other = by_name.setdefault(run.identity.name, run)
        if (run.identity.experiment, run.identity.random_parts) != (
            other.identity.experiment,
            other.identity.random_parts,
        ):
            raise UserError(
                f"runs: {run.folder} and {other.folder} are both named {run.identity.name}, but are of "
                "different models; give one another name (name=...)."
            )


def _settings(run: FinishedRun, first: FinishedRun) -> list[tuple[str, object, object]]:
    expected = next(iter(first.results.values()))
    return [
        (what, getattr(result, attribute), getattr(expected, attribute))
        for result in run.results.values()
        for what, attribute in (("metrics.thresholds", "thresholds"), ("categories", "category_names"))
    ]
