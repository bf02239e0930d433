"""Writes every value of a cross-validation's table as CSV."""

from __future__ import annotations

import csv
import math
from io import StringIO

from modise_lightning.csv_cells import guard_cells
from modise_lightning.reporting.cross_validation.layout import fixed_thresholds, paper_row
from modise_lightning.reporting.cross_validation.models import METRICS, ModelFolds, Summary
from modise_lightning.reporting.cross_validation.paper import read_paper_tables
from modise_lightning.reporting.cross_validation.table import DatasetTable


def results_csv(table: DatasetTable) -> str:
    """Write every value of a dataset's table, a line a model, class and metric; percent with all digits.

    A model's lines are followed by PQ at the fixed thresholds and by the paper's (``source`` paper); the
    folds' single values are in ``fold_0``, ...
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
        rows += _fixed_lines(table, row)
        published = paper_row(table, row, paper)
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
    writer.writerows(map(guard_cells, rows))
    return text.getvalue()


def _fixed_lines(table: DatasetTable, row: ModelFolds) -> list[list[object]]:
    """Give the lines of PQ at the fixed thresholds, but the one that the row is reported at."""
    lines: list[list[object]] = []
    for threshold in map(float, fixed_thresholds(table)):
        if math.isclose(threshold, row.threshold):
            continue
        for category in (None, *table.category_names):
            own = row.quality_at(threshold, category)
            summary = Summary.of(list(own.values()))
            lines.append(
                [
                    table.dataset,
                    table.synthetic,
                    "ours",
                    row.label,
                    category or "",
                    len(row.runs),
                    threshold,
                    "PQ",
                    _number(summary.mean),
                    _number(summary.deviation),
                    *(_number(own.get(fold, math.nan)) for fold in table.folds),
                ]
            )
    return lines


def _number(value: float) -> object:
    return "" if math.isnan(value) else 100 * value
