"""What the runs of a model measured, for its package: every number with its interval, and tables."""

from __future__ import annotations

import math

from modise_lightning.errors import UserError
from modise_lightning.packages.package import Evaluation
from modise_lightning.reporting.clinical.layout import bounds, clinical_tables
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.clinical.model_intervals import measure_models
from modise_lightning.reporting.cross_validation.layout import result_table
from modise_lightning.reporting.cross_validation.models import METRICS
from modise_lightning.reporting.cross_validation.runs import FinishedRun
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable


def choose_run(tables: list[DatasetTable], fold: int | None) -> tuple[DatasetTable, FinishedRun]:
    """Choose the run whose model is packed.

    Args:
        tables: Of the runs.
        fold: Its test fold; None for the first that was run. None is chosen by its results.

    Raises:
        UserError: The runs are of several models or datasets, or none has the fold.
    """
    rows = [(table, row) for table in tables for row in table.models]
    if len(rows) != 1:
        named = ", ".join(f"{row.label} on {table.dataset}" for table, row in rows)
        raise UserError(f"runs: a package holds one model; these are {named}. Give the folders of one.")
    table, row = rows[0]
    if fold is not None and fold not in row.runs:
        raise UserError(f"test_fold: {fold} was not run; the runs have {', '.join(map(str, row.runs))}.")
    return table, row.runs[min(row.runs) if fold is None else fold]


def evaluation_of(table: DatasetTable, comparison: ComparisonSettings) -> Evaluation:
    """Measure a model over the folds of its runs.

    Args:
        table: With this one model.
        comparison: Resamples and confidence of the intervals.
    """
    models, notes = measure_models(table, comparison, StatisticsReader())
    numbers: dict[str, tuple[float | None, float | None, float | None]] = {}
    for metric in METRICS:
        numbers[metric] = (_plain(table.models[0].summary(metric).mean), None, None)
    for model in models:
        for name, interval in model.intervals.items():
            low, high = bounds(interval)
            numbers[name] = (_plain(interval.value), _plain(low), _plain(high))
    confidence = comparison.confidence
    tables = [result_table(table, per_class=True)]
    tables += clinical_tables(table, models, notes, confidence=confidence)
    return Evaluation.of(numbers, confidence, tables)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
