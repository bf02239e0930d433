"""Lays out what models that were trained on some datasets reach on others: trained on / tested on."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from modise_lightning.csv_cells import guard_cells
from modise_lightning.errors import UserError
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.cross_validation.models import METRICS, Summary, threshold_index
from modise_lightning.reporting.cross_validation.runs import (
    FinishedRun,
    dataset_key,
    find_runs,
    is_foreign,
    trained_on,
)
from modise_lightning.reporting.cross_validation.settings import RunSettings
from modise_lightning.reporting.text_tables.rendering import Line, TextTable

SHOWN = ("PQ", "AP", "Dice")
_TRAINED = "trained"


@dataclass(frozen=True)
class Cell:
    """One model on one dataset.

    Attributes:
        runs: Its results, by fold.
        threshold: IoU threshold that PQ and AP are at.
    """

    runs: dict[int, FinishedRun]
    threshold: float

    def summary(self, metric: str) -> Summary:
        """Summarise one of ``METRICS`` over the folds."""
        results = [run.results[_TRAINED] for run in self.runs.values()]
        return Summary.of([result.at(self.threshold)[METRICS[metric]] for result in results])


@dataclass(frozen=True)
class CrossTable:
    """All models on all datasets.

    Attributes:
        rows: What each model was trained on, with its name where several were trained on the same.
        columns: Datasets that were tested on.
        cells: By row and column; not every pair need be there.
        notes: What a reader must know, a sentence each.
    """

    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]
    notes: list[str]


def gather_cross_table(settings: RunSettings) -> CrossTable:
    """Find runs, and gather those of each pair of training and test data.

    Args:
        settings: Which runs, and how.

    Returns:
        The table.

    Raises:
        UserError: No run was tested on another dataset than that of its training; or those of a column were
            not measured alike.
    """
    found = find_runs([Path(folder) for folder in settings.runs], settings.same_fold, transfers=True)
    runs = [run for run in found.finished if _TRAINED in run.results]
    if not any("trained_on" in run.identity.measurement for run in runs):
        raise UserError(
            "cross_dataset: every run was tested on what it was trained on. Add results of "
            "`python -m modise_lightning.evaluate checkpoint=... data=ANOTHER`."
        )
    columns = _columns(runs)
    rows = _rows(runs)
    grouped: dict[tuple[str, str], dict[int, FinishedRun]] = defaultdict(dict)
    for run in runs:
        grouped[rows[run.folder], run.identity.dataset][run.identity.fold] = run
    thresholds = {
        column: _threshold([run for run in runs if run.identity.dataset == column], settings)
        for column in columns
    }
    cells = {key: Cell(dict(sorted(own.items())), thresholds[key[1]]) for key, own in grouped.items()}
    return CrossTable(sorted(set(rows.values())), columns, cells, _notes(runs, thresholds, found.notes))


def cross_tables(table: CrossTable) -> list[TextTable]:
    """Lay out a table a metric: a row a training, a column a dataset; the notes are under the last one."""
    return [_lay_out(table, metric, table.notes if metric == SHOWN[-1] else []) for metric in SHOWN]


def cross_csv(table: CrossTable) -> str:
    """Give every value, a line a training, dataset and metric, in percent."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trained_on", "tested_on", "metric", "iou_threshold", "mean", "std", "num_folds"))
    for (row, column), cell in sorted(table.cells.items()):
        for metric in SHOWN:
            summary = cell.summary(metric)
            values = ("" if math.isnan(v) else 100 * v for v in (summary.mean, summary.deviation))
            threshold = "" if metric == "Dice" else cell.threshold
            writer.writerow(guard_cells([row, column, metric, threshold, *values, summary.count]))
    return text.getvalue()


def _lay_out(table: CrossTable, metric: str, notes: list[str]) -> TextTable:
    summaries = {key: cell.summary(metric) for key, cell in table.cells.items()}
    best = {
        column: max(
            (
                each.mean
                for (_, own), each in summaries.items()
                if own == column and not math.isnan(each.mean)
            ),
            default=math.nan,
        )
        for column in table.columns
    }
    lines = [
        Line(
            [row, *(_text(summaries.get((row, column))) for column in table.columns)],
            [False, *(_is(summaries.get((row, column)), best[column]) for column in table.columns)],
            False,
        )
        for row in table.rows
    ]
    return TextTable(
        title=f"{metric}, trained on / tested on: mean ± sample standard deviation over folds, percent",
        columns=["trained on", *table.columns],
        lines=lines,
        notes=notes,
    )


def _text(summary: Summary | None) -> str:
    if summary is None or math.isnan(summary.mean):
        return "-"
    spread = "" if math.isnan(summary.deviation) else f" ± {100 * summary.deviation:.2f}"
    return f"{100 * summary.mean:.2f}{spread} ({summary.count})"


def _is(summary: Summary | None, best: float) -> bool:
    return summary is not None and summary.mean == best


def _label(run: FinishedRun) -> str:
    """Name what a run's model was trained on, joint data with its sources."""
    names = " + ".join(trained_on(run.identity))
    if "trained_on_sources" not in run.identity.measurement:
        return names
    return f"{run.identity.measurement.get('trained_on', run.identity.dataset)}: {names}"


def _rows(runs: Sequence[FinishedRun]) -> dict[Path, str]:
    """Name the row of each run, by its folder."""
    names = defaultdict(set)
    for run in runs:
        names[_label(run)].add(run.identity.name)
    return {
        run.folder: _label(run) + (f" ({run.identity.name})" if len(names[_label(run)]) > 1 else "")
        for run in runs
    }


def _columns(runs: Sequence[FinishedRun]) -> list[str]:
    """Name the datasets; those of one name must be the same, and have the same classes and thresholds."""
    first: dict[str, FinishedRun] = {}
    for run in runs:
        other = first.setdefault(run.identity.dataset, run)
        own, expected = run.results[_TRAINED], other.results[_TRAINED]
        for what, differ in (
            ("the dataset", dataset_key(run.identity) != dataset_key(other.identity)),
            ("categories", own.category_names != expected.category_names),
            ("metrics.thresholds", own.thresholds != expected.thresholds),
            ("metrics.matching", run.identity.matching != other.identity.matching),
        ):
            if differ:
                raise UserError(
                    f"runs: {run.folder} and {other.folder} differ in {what}, so that their numbers on "
                    f"{run.identity.dataset} cannot stand in one column; give them to two calls."
                )
    return sorted(first)


def _threshold(runs: Sequence[FinishedRun], settings: RunSettings) -> float:
    """Choose the IoU threshold of a column: one for all its rows."""
    results: list[EvaluationResult] = [run.results[_TRAINED] for run in runs]
    if not isinstance(settings.threshold, str):
        return results[0].thresholds[threshold_index(results[0], settings.threshold)]
    mean = [Summary.of(values).mean for values in zip(*(r.panoptic_quality for r in results), strict=True)]
    return best_threshold(mean, results[0].thresholds, settings.threshold_limit)


def _notes(runs: Sequence[FinishedRun], thresholds: dict[str, float], found: Sequence[str]) -> list[str]:
    at = ", ".join(f"{column} {threshold:.2f}" for column, threshold in thresholds.items())
    synthetic = {run.identity.dataset for run in runs if run.identity.synthetic}
    splits = {
        f"{run.identity.split} of {run.identity.dataset}" for run in runs if run.identity.split != "test"
    }
    unseen = {f"{_label(run)} on {run.identity.dataset}" for run in runs if run.identity.unseen_categories}
    own = {f"{_label(run)} on {run.identity.dataset}" for run in runs if not is_foreign(run.identity)}
    told = (
        ("SYNTHETIC images, in whole or in part", synthetic),
        ("On the held-out fold of data that was trained on", own),
        ("On more than a test fold, none of it trained on", splits),
        ("With classes of which training had no text", unseen),
    )
    return [
        f"In brackets the folds, in bold the best of a column. PQ and AP at the IoU threshold of {at}.",
        *(f"{what}: {'; '.join(sorted(which))}." for what, which in told if which),
        "Patients who are in several datasets, or in images that frozen weights were trained on, are not "
        "known here; docs/joint_training.md names those that we know.",
        *found,
    ]
