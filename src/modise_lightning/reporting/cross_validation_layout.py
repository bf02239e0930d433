"""Lays out the tables of a cross-validation: the results with the paper's under them, and the comparison."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from io import StringIO

from modise_lightning.reporting.cross_validation import DatasetTable
from modise_lightning.reporting.cross_validation_comparison import Comparison
from modise_lightning.reporting.cross_validation_models import METRICS, ModelFolds, Summary
from modise_lightning.reporting.paper import PAPER_DATASETS, PaperRow, read_paper_tables
from modise_lightning.reporting.text_table import Line, TextTable


def result_table(table: DatasetTable, *, per_class: bool) -> TextTable:
    """Lay out the table of a dataset, with the paper's row under each of ours that has one.

    Args:
        table: Of one dataset.
        per_class: Whether each model is followed by a line a class.
    """
    paper = read_paper_tables()
    summaries = [{metric: row.summary(metric) for metric in METRICS} for row in table.models]
    best = {
        metric: max(
            (each[metric].mean for each in summaries if not math.isnan(each[metric].mean)), default=None
        )
        for metric in METRICS
    }
    lines = []
    for row, own in zip(table.models, summaries, strict=True):
        cells = [row.label, f"{len(row.runs)}/{len(table.folds)}", f"{row.threshold:.2f}"]
        # With a single model there is nothing to be best of.
        several = len(table.models) > 1
        bold = [*[False] * 3, *(several and own[metric].mean == best[metric] for metric in METRICS)]
        lines.append(Line([*cells, *(_percent(own[metric], row) for metric in METRICS)], bold, False))
        published = _paper_row(table, row, paper)
        if published is not None:
            lines.append(_paper_line(published))
        if per_class:
            for category in table.category_names:
                values = [_percent(row.summary(metric, category), row) for metric in METRICS]
                lines.append(Line([f"  {category}", "", "", *values], [False] * 8, True))
    synthetic = ", SYNTHETIC" if table.synthetic else ""
    images = "" if table.num_images is None else f", {table.num_images} images"
    return TextTable(
        title=f"{table.dataset}{synthetic}{images}: mean ± sample standard deviation over folds, percent",
        columns=["model", "folds", "T", *METRICS],
        lines=lines,
        notes=[*table.notes, *_threshold_notes(table, paper)],
    )


def comparison_table(comparisons: Sequence[Comparison], notes: Sequence[str], confidence: float) -> TextTable:
    """Lay out the comparison of models.

    Args:
        comparisons: Of one dataset.
        notes: What a reader must know of them.
        confidence: Of the intervals.
    """
    folds = sorted({fold for each in comparisons for fold in each.differences})
    lines = [
        Line(
            [
                each.model,
                each.metric,
                *(_signed(each.differences[fold]) if fold in each.differences else "" for fold in folds),
                _signed(each.mean),
                "-"
                if each.interval is None
                else f"{_signed(each.interval[0])} to {_signed(each.interval[1])}",
                "-" if math.isnan(each.p_value) else f"{each.p_value:.4f}",
            ],
            [False] * (len(folds) + 5),
            False,
        )
        for each in comparisons
    ]
    fewest = min(len(each.differences) for each in comparisons)
    return TextTable(
        title=f"difference to {comparisons[0].reference}, percentage points, by test fold",
        columns=[
            "model",
            "metric",
            *(f"fold {fold}" for fold in folds),
            "mean",
            f"{100 * confidence:g} % interval",
            "p",
        ],
        lines=lines,
        notes=[
            "Interval: of the mean difference, bootstrap over the patients of each fold, not over trainings; "
            "RQ, SQ and PQ only.",
            f"p: Wilcoxon's signed-rank test over folds, two-sided; with {fewest} folds it cannot be below "
            f"{2 / 2**fewest:g}.",
            *notes,
        ],
    )


def results_csv(table: DatasetTable) -> str:
    """Write every value of a dataset's table, a line a model, class and metric; percent with all digits.

    Lines of the paper (``source`` paper) follow ours; the folds' single values are in ``fold_0``, ...
    """
    paper = read_paper_tables()
    folds = [f"fold_{fold}" for fold in table.folds]
    rows: list[list[object]] = []
    for row in table.models:
        for category in (None, *table.category_names):
            for metric in METRICS:
                own = row.values(metric) if category is None else row.values_of_category(metric, category)
                summary = row.summary(metric, category)
                rows.append(
                    [
                        table.dataset,
                        table.synthetic,
                        "ours",
                        row.label,
                        category or "",
                        len(row.runs),
                        "" if metric == "Dice" else row.threshold,
                        metric,
                        _number(summary.mean),
                        _number(summary.deviation),
                        *(_number(own.get(fold, math.nan)) for fold in table.folds),
                    ]
                )
        published = _paper_row(table, row, paper)
        if published is not None:
            rows += [
                [
                    table.dataset,
                    False,
                    "paper",
                    published.model,
                    "",
                    5,
                    "" if metric == "Dice" else published.threshold,
                    metric,
                    mean,
                    deviation,
                    *[""] * len(folds),
                ]
                for metric, (mean, deviation) in published.values.items()
            ]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "dataset",
            "synthetic",
            "source",
            "model",
            "class",
            "num_folds",
            "iou_threshold",
            "metric",
            "mean",
            "std",
            *folds,
        ]
    )
    writer.writerows(rows)
    return text.getvalue()


def _paper_row(
    table: DatasetTable, row: ModelFolds, paper: dict[tuple[str, str], PaperRow]
) -> PaperRow | None:
    experiment = next(iter(row.runs.values())).identity.experiment
    if row.model != "trained" or table.synthetic or experiment is None:
        return None
    dataset = PAPER_DATASETS.get(table.dataset)
    if dataset is None or set(dataset.category_names) != set(table.category_names):
        return None
    return paper.get((table.dataset, experiment))


def _threshold_notes(table: DatasetTable, paper: dict[tuple[str, str], PaperRow]) -> list[str]:
    published = [(row, _paper_row(table, row, paper)) for row in table.models]
    other = {
        its.threshold for row, its in published if its and not math.isclose(its.threshold, row.threshold)
    }
    return [
        f"The paper's rows are at T {threshold:.2f}; threshold={threshold:g} gives ours at the same."
        for threshold in sorted(other)
    ]


def _paper_line(published: PaperRow) -> Line:
    values = [
        f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in map(published.values.__getitem__, METRICS)
    ]
    cells = [f"  paper: {published.model}", "5/5", f"{published.threshold:.2f}", *values]
    return Line(cells, [False] * len(cells), True)


def _percent(summary: Summary, row: ModelFolds) -> str:
    if summary.count == 0:
        return "-"
    deviation = "-" if math.isnan(summary.deviation) else f"{100 * summary.deviation:.2f}"
    fewer = f" (n={summary.count})" if summary.count < len(row.runs) else ""
    return f"{100 * summary.mean:.2f} ± {deviation}{fewer}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"


def _number(value: float) -> object:
    return "" if math.isnan(value) else 100 * value
