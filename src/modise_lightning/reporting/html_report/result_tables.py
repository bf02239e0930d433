"""Lays out the tables of a report: of one fold by class, or of a cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modise_lightning.reporting.clinical.layout import clinical_tables
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.clinical.model_intervals import measure_models
from modise_lightning.reporting.cross_validation.comparison import compare_models
from modise_lightning.reporting.cross_validation.layout import (
    comparison_table,
    fixed_thresholds,
    result_table,
)
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import Line, TextTable

_METRICS = ("PQ", "RQ", "SQ", "AP", "Dice")


def report_tables(
    table: DatasetTable, comparison: ComparisonSettings, reader: StatisticsReader
) -> list[TextTable]:
    """Lay out a dataset's results, over several folds the comparison of its models, and all with intervals.

    Args:
        table: Of one dataset.
        comparison: How models are compared.
        reader: Of the records.

    Raises:
        UserError: There is no such reference, or records contradict their results.
    """
    if all(len(row.runs) == 1 for row in table.models):
        tables = [_single_fold_table(table)]
    else:
        tables = [result_table(table, per_class=True)]
        comparisons, notes = compare_models(table, reader.counts, **comparison.model_dump())
        if comparisons:
            tables.append(comparison_table(comparisons, notes, comparison.confidence))
    models, notes = measure_models(table, comparison, reader)
    return tables + clinical_tables(table, models, notes, confidence=comparison.confidence)


def _single_fold_table(table: DatasetTable) -> TextTable:
    fixed = fixed_thresholds(table)
    lines = []
    for row in table.models:
        (fold,) = row.runs
        values = [
            *(_percent(row.values(metric)[fold]) for metric in _METRICS),
            *(_percent(row.quality_at(float(threshold))[fold]) for threshold in fixed),
        ]
        tested = str(row.results[fold].num_images)
        lines.append(
            Line(
                [row.label, str(fold), tested, f"{row.threshold:.2f}", *values],
                [False] * (4 + len(values)),
                False,
            )
        )
        lines += [_category_line(row, fold, name, fixed) for name in table.category_names]
    synthetic = ", SYNTHETIC" if table.synthetic else ""
    return TextTable(
        title=f"{table.dataset}{synthetic}: mean over classes, and each class, in percent",
        columns=["model", "fold", "images", "T", *_METRICS, *(f"PQ {threshold}" for threshold in fixed)],
        lines=lines,
        notes=list(table.notes),
    )


def _category_line(row: ModelFolds, fold: int, category: str, fixed: Sequence[str]) -> Line:
    values = [
        *(_percent(row.values_of_category(metric, category)[fold]) for metric in _METRICS),
        *(_percent(row.quality_at(float(threshold), category)[fold]) for threshold in fixed),
    ]
    return Line([f"  {category}", "", "", "", *values], [False] * (4 + len(values)), True)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
