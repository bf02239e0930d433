"""Lays out the tables of a cross-validation: the results with the paper's under them, and the comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from modise_lightning.reporting.cross_validation.comparison import Comparison
from modise_lightning.reporting.cross_validation.models import METRICS, ModelFolds, Summary
from modise_lightning.reporting.cross_validation.paper import PAPER_DATASETS, PaperRow, read_paper_tables
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import Line, TextTable


def result_table(table: DatasetTable, *, per_class: bool) -> TextTable:
    """Lay out the table of a dataset, with the paper's row under each of ours that has one.

    Args:
        table: Of one dataset.
        per_class: Whether each model is followed by a line a class.
    """
    paper = read_paper_tables()
    summaries = [{metric: row.summary(metric) for metric in METRICS} for row in table.models]
    best = {metric: _best_rows(table.models, metric) for metric in METRICS}
    fixed = fixed_thresholds(table)
    lines = []
    for row, own in zip(table.models, summaries, strict=True):
        cells = [row.label, f"{len(row.runs)}/{len(table.folds)}", f"{row.threshold:.2f}"]
        bold = [*[False] * 3, *(row in best[metric] for metric in METRICS), *[False] * len(fixed)]
        values = [
            *(_percent(own[metric], row) for metric in METRICS),
            *(_percent(_at(row, threshold), row) for threshold in fixed),
        ]
        lines.append(Line([*cells, *values], bold, False))
        published = paper_row(table, row, paper)
        if published is not None:
            lines.append(_paper_line(published, fixed))
        if per_class:
            for category in table.category_names:
                values = [
                    *(_percent(row.summary(metric, category), row) for metric in METRICS),
                    *(_percent(_at(row, threshold, category), row) for threshold in fixed),
                ]
                lines.append(Line([f"  {category}", "", "", *values], [False] * len(bold), True))
    synthetic = ", SYNTHETIC" if table.synthetic else ""
    images = "" if table.num_images is None else f", {table.num_images} images"
    return TextTable(
        title=f"{table.dataset}{synthetic}{images}: mean ± sample standard deviation over folds, percent",
        columns=["model", "folds", "T", *METRICS, *(f"PQ {threshold}" for threshold in fixed)],
        lines=lines,
        notes=[*table.notes, *_bold_notes(table.models), *_threshold_notes(table, paper)],
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
                _interval(each.interval),
                _interval(each.interval_with_trainings),
                "-" if math.isnan(each.p_value) else f"{each.p_value:.4f}",
            ],
            [False] * (len(folds) + 6),
            False,
        )
        for each in comparisons
    ]
    most = max(sum(not math.isnan(value) for value in each.differences.values()) for each in comparisons)
    bound = [
        f"p: Wilcoxon's signed-rank test over folds, two-sided; with {most} folds it cannot be below "
        f"{2 / 2**most:g}."
    ]
    return TextTable(
        title=f"difference to {comparisons[0].reference}, percentage points, by test fold",
        columns=[
            "model",
            "metric",
            *(f"fold {fold}" for fold in folds),
            "mean",
            f"{100 * confidence:g} % interval without training variance",
            f"{100 * confidence:g} % interval with training variance",
            "p",
        ],
        lines=lines,
        notes=[
            "Intervals are of the mean difference. Without the variance between trainings: bootstrap over "
            "the test patients of these very trainings; RQ, SQ and PQ only. With it: t interval over folds, "
            "corrected for shared training images (Nadeau and Bengio 2003); where folds share their test "
            "patients, t interval of the variance over folds and of the bootstrap's over patients together.",
            *(bound if most > 1 else []),
            *notes,
        ],
    )


def _best_rows(models: Sequence[ModelFolds], metric: str) -> list[ModelFolds]:
    """Give the rows with the highest mean among those that can be compared: of the same folds and classes."""
    most = max(len(row.runs) for row in models)
    complete = [row for row in models if len(row.runs) == most]
    if len(complete) < 2 or len({_averaged_over(row, metric) for row in complete}) > 1:
        return []
    means = [row.summary(metric).mean for row in complete]
    highest = max((mean for mean in means if not math.isnan(mean)), default=None)
    return [row for row, mean in zip(complete, means, strict=True) if mean == highest]


def _averaged_over(row: ModelFolds, metric: str) -> tuple[tuple[int, str], ...]:
    return tuple((fold, name) for fold in sorted(row.runs) for name in row.classes(metric, fold))


def _bold_notes(models: Sequence[ModelFolds]) -> list[str]:
    notes = []
    most = max(len(row.runs) for row in models)
    fewer = [row.label for row in models if len(row.runs) < most]
    if fewer:
        notes.append(f"Never bold, for their missing folds: {', '.join(fewer)}.")
    complete = [row for row in models if len(row.runs) == most]
    if len(complete) > 1:
        differing = [
            metric for metric in METRICS if len({_averaged_over(row, metric) for row in complete}) > 1
        ]
        if differing:
            notes.append(
                f"No row is bold in {', '.join(differing)}: the rows' means are over different folds or "
                "classes (a class without truth counts for a model that predicts it)."
            )
    return notes


def fixed_thresholds(table: DatasetTable) -> list[str]:
    """Give the thresholds, as text, at which all results show PQ beside the reported one."""
    shown = [result.panoptic_quality_at for row in table.models for result in row.results.values()]
    return [threshold for threshold in shown[0] if all(threshold in each for each in shown)]


def _at(row: ModelFolds, threshold: str, category: str | None = None) -> Summary:
    return Summary.of(list(row.quality_at(float(threshold), category).values()))


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{_signed(bounds[0])} to {_signed(bounds[1])}"


def paper_row(
    table: DatasetTable, row: ModelFolds, paper: Mapping[tuple[str, str], PaperRow]
) -> PaperRow | None:
    """Find the paper's row of a model; None unless dataset, classes and experiment are the paper's."""
    experiment = next(iter(row.runs.values())).identity.experiment
    if row.model != "trained" or table.synthetic or experiment is None:
        return None
    dataset = PAPER_DATASETS.get(table.dataset)
    if dataset is None or set(dataset.category_names) != set(table.category_names):
        return None
    return paper.get((table.dataset, experiment))


def _threshold_notes(table: DatasetTable, paper: Mapping[tuple[str, str], PaperRow]) -> list[str]:
    published = [(row, paper_row(table, row, paper)) for row in table.models]
    other = {
        its.threshold for row, its in published if its and not math.isclose(its.threshold, row.threshold)
    }
    return [
        f"The paper's rows are at T {threshold:.2f}; threshold={threshold:g} gives ours at the same."
        for threshold in sorted(other)
    ]


def _paper_line(published: PaperRow, fixed: Sequence[str]) -> Line:
    values = [
        f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in map(published.values.__getitem__, METRICS)
    ]
    # Of the fixed thresholds the paper gives at most one.
    also = [
        values[list(METRICS).index("PQ")] if math.isclose(float(each), published.threshold) else ""
        for each in fixed
    ]
    cells = [f"  paper: {published.model}", "5/5", f"{published.threshold:.2f}", *values, *also]
    return Line(cells, [False] * len(cells), True)


def _percent(summary: Summary, row: ModelFolds) -> str:
    if summary.count == 0:
        return "-"
    deviation = "-" if math.isnan(summary.deviation) else f"{100 * summary.deviation:.2f}"
    fewer = f" (n={summary.count})" if summary.count < len(row.runs) else ""
    return f"{100 * summary.mean:.2f} ± {deviation}{fewer}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"
