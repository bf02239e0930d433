"""Lays out the clinical tables: numbers with intervals, differences, strata; and every value as CSV."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from io import StringIO

from modise_lightning.csv_cells import guard_cells
from modise_lightning.metrics.patients.resampling import Interval
from modise_lightning.reporting.clinical.model_intervals import ClinicalModel, shown_numbers
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import Line, TextTable

# In millimetres or pixels, not shares.
_IS_DISTANCE = re.compile(r"\((mm|pixels)\)$")
_MOST_REASONS = 12


def clinical_tables(
    table: DatasetTable, models: Sequence[ClinicalModel], notes: Sequence[str], *, confidence: float
) -> list[TextTable]:
    """Lay out the tables of a dataset; none without models.

    Args:
        table: Of the dataset.
        models: Its clinical ones.
        notes: What a reader must know of them.
        confidence: Of the intervals.
    """
    if not models:
        return []
    tables = [_numbers(table, models, notes, confidence)]
    if any(model.differences for model in models):
        tables.append(_differences(models, confidence))
    if any(model.strata for model in models):
        tables.append(_strata(table, models, confidence))
    return tables


def intervals_csv(table: DatasetTable, models: Sequence[ClinicalModel]) -> str:
    """Write every number, a line a model and number; distances in their unit, all others as fractions."""
    head = [
        "dataset",
        "synthetic",
        "model",
        "number",
        "value",
        "percentile_low",
        "percentile_high",
        "bca_low",
    ]
    head += ["bca_high", "deviation", "defined_resamples", "difference", "difference_low", "difference_high"]
    head += ["p", "p_holm", "undefined"]
    rows: list[list[object]] = []
    for model in models:
        for name, interval in model.intervals.items():
            difference = model.differences.get(name)
            compared: list[object] = ["", "", "", "", ""]
            if difference is not None:
                low, high = bounds(difference.interval)
                values = (difference.interval.value, low, high, difference.p_value, difference.corrected)
                compared = [_plain(value) for value in values]
            rows.append(
                [
                    table.dataset,
                    table.synthetic,
                    model.label,
                    name,
                    *map(_plain, (interval.value, *interval.percentile, *interval.bca, interval.deviation)),
                    interval.defined,
                    *compared,
                    _reason(model.undefined.get(name, {})),
                ]
            )
        rows += [
            [table.dataset, table.synthetic, model.label, group, *[""] * 12, _reason(reasons)]
            for group, reasons in model.undefined.items()
            if group not in model.intervals
        ]
    return _csv(head, rows)


def strata_csv(table: DatasetTable, models: Sequence[ClinicalModel], *, confidence: float) -> str:
    """Write every stratum, a line a model and level; shares as fractions."""
    head = ["dataset", "synthetic", "model", "by", "level", "lesions", "found", "sensitivity", "low", "high"]
    rows: list[list[object]] = [
        [
            table.dataset,
            table.synthetic,
            model.label,
            each.by,
            each.level,
            each.lesions,
            each.found,
            *map(_plain, (each.sensitivity, *each.interval(confidence), each.mean_iou)),
        ]
        for model in models
        for each in model.strata
    ]
    return _csv([*head, "mean_iou"], rows)


def bounds(interval: Interval) -> tuple[float, float]:
    """Give the BCa bounds, and the percentile ones where these are undefined."""
    return interval.percentile if math.isnan(interval.bca[0]) else interval.bca


def _numbers(
    table: DatasetTable, models: Sequence[ClinicalModel], notes: Sequence[str], confidence: float
) -> TextTable:
    names = shown_numbers(models)
    lines = []
    for name in names:
        cells = [name]
        for model in models:
            interval = model.intervals.get(name)
            cells.append("-" if interval is None else _cell(name, interval, signed=False))
        lines.append(Line(cells, [False] * len(cells), False))
    counts = "; ".join(f"{name} {number}" for name, number in models[0].counts.items())
    reasons = _undefined(models, names)
    more = len(reasons) - _MOST_REASONS
    if more > 0:
        reasons = [*reasons[:_MOST_REASONS], f"{more} more reasons stand in the CSV file."]
    synthetic = ", SYNTHETIC" if table.synthetic else ""
    clinical = any(model.strata or "lesions" in model.counts for model in models)
    what = "cases, lesions and borders" if clinical else "each number"
    return TextTable(
        title=f"{table.dataset}{synthetic}: {what}; mean over folds and {100 * confidence:g} % interval, "
        "percent",
        columns=["number", *(model.label for model in models)],
        lines=lines,
        notes=[
            f"Evaluated: {counts} ({models[0].label}, all its folds).",
            "Intervals: bootstrap over the test patients, stratified by fold, BCa (percentile where BCa is "
            "undefined, *), with the trainings as they are."
            + (
                " Distances are in millimetres or pixels. Every other rate and rule stands in the CSV file."
                if clinical
                else ""
            ),
            *notes,
            *reasons,
        ],
    )


def _differences(models: Sequence[ClinicalModel], confidence: float) -> TextTable:
    compared = [model for model in models if model.differences]
    number = sum(not math.isnan(each.corrected) for model in compared for each in model.differences.values())
    lines = []
    for model in compared:
        for name in shown_numbers(models):
            each = model.differences.get(name)
            if each is None or math.isnan(each.interval.value):
                continue
            p_values = [f"{value:.4f}" for value in (each.p_value, each.corrected)]
            cells = [model.label, name, _cell(name, each.interval, signed=True), *p_values]
            lines.append(Line(cells, [False] * len(cells), False))
    return TextTable(
        title="paired differences over the same patients, percentage points",
        columns=["model", "number", f"difference, {100 * confidence:g} % interval", "p", "p (Holm)"],
        lines=lines,
        notes=[
            "p: two-sided permutation test over patients, whose results are exchanged between the models; "
            f"p (Holm) is corrected for the {number} differences of this table. Trainings are as they are: a "
            "difference is one of these trainings, not of the methods."
        ],
    )


def _strata(table: DatasetTable, models: Sequence[ClinicalModel], confidence: float) -> TextTable:
    keys = list(dict.fromkeys((each.by, each.level) for model in models for each in model.strata))
    by_key = [{(each.by, each.level): each for each in model.strata} for model in models]
    lines = []
    for by, level in keys:
        found = [each.get((by, level)) for each in by_key]
        lesions = next(each.lesions for each in found if each is not None)
        cells = [by, level, str(lesions)]
        for each in found:
            if each is None or not each.lesions:
                cells += ["-", "-"]
                continue
            low, high = each.interval(confidence)
            cells.append(f"{100 * each.sensitivity:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
            cells.append("-" if math.isnan(each.mean_iou) else f"{100 * each.mean_iou:.1f}")
        lines.append(Line(cells, [False] * len(cells), by != "all"))
    synthetic = ", SYNTHETIC" if table.synthetic else ""
    heads = [text for model in models for text in (f"{model.label}: sensitivity", "mean IoU")]
    return TextTable(
        title=f"{table.dataset}{synthetic}: lesions found at each evaluation's best T, all folds together, "
        "percent",
        columns=["by", "level", "lesions", *heads],
        lines=lines,
        notes=[
            f"Sensitivity with Wilson's {100 * confidence:g} % interval, as if lesions were independent; "
            "mean IoU of those found."
        ],
    )


def _cell(name: str, interval: Interval, *, signed: bool) -> str:
    if math.isnan(interval.value):
        return "-"
    scale = 1 if _IS_DISTANCE.search(name) else 100
    sign = "+" if signed else ""
    low, high = bounds(interval)
    value = f"{scale * interval.value:{sign}.2f}"
    if math.isnan(low):
        return value
    star = "*" if math.isnan(interval.bca[0]) else ""
    return f"{value} [{scale * low:{sign}.2f}, {scale * high:{sign}.2f}]{star}"


def _undefined(models: Sequence[ClinicalModel], names: Sequence[str]) -> list[str]:
    """Say why numbers are undefined, a sentence for all numbers and models of one reason."""
    models_of: dict[tuple[str, str], list[str]] = {}
    for model in models:
        numbers_of: dict[str, list[str]] = {}
        for name, by_fold in model.undefined.items():
            if name in names or name not in model.intervals:
                numbers_of.setdefault(_reason(by_fold), []).append(name)
        for reason, numbers in numbers_of.items():
            models_of.setdefault((reason, ", ".join(numbers)), []).append(model.label)
    return [f"{', '.join(labels)}: {numbers}: {reason}." for (reason, numbers), labels in models_of.items()]


def _reason(by_fold: dict[int, str]) -> str:
    """Join the reasons of all folds, one of the same wording once."""
    folds: dict[str, list[int]] = {}
    for fold, reason in by_fold.items():
        folds.setdefault(reason, []).append(fold)
    named = ((", ".join(map(str, numbers)), reason) for reason, numbers in folds.items())
    return "; ".join(f"fold {numbers}: {reason}" for numbers, reason in named)


def _plain(value: float) -> object:
    return "" if math.isnan(value) else value


def _csv(head: list[str], rows: list[list[object]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(guard_cells, rows))
    return text.getvalue()
