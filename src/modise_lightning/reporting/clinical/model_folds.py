"""The clinical results and records of a model's folds, and whether they belong together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

from pydantic import TypeAdapter, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.metrics.clinical.record_statistics import (
    FoldStatistics,
    Measurement,
    case_statistics,
    fold_statistics,
)
from modise_lightning.metrics.clinical.result import ClinicalResult
from modise_lightning.metrics.patients.statistics import SegmentCounts, measure_once
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import ReadRecords, read_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.reporting.cross_validation.bootstrap import PatientCounts
from modise_lightning.reporting.cross_validation.models import METRICS, ModelFolds
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.results import Setting

_SETTINGS = TypeAdapter(ClinicalSettings)


def clinical_rows(table: DatasetTable) -> list[ModelFolds]:
    """Give the models whose runs were evaluated with ``metrics=clinical``, all with the same settings.

    Args:
        table: Of one dataset.

    Raises:
        UserError: There is none, or their settings differ.
    """
    rows = with_clinical_results(table)
    if not rows:
        raise UserError(f"figures: roc and strata need runs of metrics=clinical; none on {table.dataset} is.")
    check_settings(rows)
    return rows


def result_of(row: ModelFolds, fold: int) -> ClinicalResult:
    """Give the clinical result of a fold of a model that has them."""
    clinical = row.runs[fold].results[row.model].clinical
    assert clinical is not None
    return clinical


def with_clinical_results(table: DatasetTable) -> list[ModelFolds]:
    """Give the models whose runs were evaluated with ``metrics=clinical``, in the table's order."""
    return [row for row in table.models if all(each.clinical is not None for each in row.results.values())]


def check_settings(rows: Sequence[ModelFolds]) -> None:
    """Refuse runs that were measured with different clinical settings.

    Raises:
        UserError: Names two runs and the setting.
    """
    first = rows[0].runs[next(iter(rows[0].runs))]
    expected = result_of(rows[0], next(iter(rows[0].runs))).settings
    for row in rows:
        for fold, run in row.runs.items():
            settings = result_of(row, fold).settings
            for name, value in expected.items():
                if settings.get(name) != value:
                    raise UserError(
                        f"runs: {run.folder} and {first.folder} differ in metrics.clinical.{name} "
                        f"({settings.get(name)} and {value}): their numbers cannot stand in one table; give "
                        "them to two calls."
                    )


class StatisticsReader:
    """Reads the records of each fold of each model once, for all tables that are made of them."""

    def __init__(self, read: ReadRecords = read_records) -> None:
        """Read nothing yet.

        Args:
            read: Reads the records of a folder.
        """
        self._read = read
        self._known: dict[Path, FoldStatistics] = {}

    def statistics(self, row: ModelFolds, fold: int) -> FoldStatistics:
        """Build the statistics of a fold from its records, as its results were measured.

        Args:
            row: A model; without clinical results there are the numbers of ``metrics=paper``.
            fold: One of its folds.

        Raises:
            UserError: Records or settings are damaged, or the records do not give the results.
        """
        folder = row.records_folder(fold)
        if folder not in self._known:
            how = _measurement(row, fold)
            statistics = fold_statistics(self._read(folder), how)
            _check_values(row, fold, statistics)
            self._known[folder] = statistics
        return self._known[folder]

    def counts(self, row: ModelFolds, fold: int) -> PatientCounts:
        """Give what panoptic quality at the model's threshold is made of in a fold; see ``statistics``."""
        own = self.statistics(row, fold)
        segments = own.statistics["segments"]
        assert isinstance(segments, SegmentCounts)
        return PatientCounts(own.image_ids, segments.patients, segments.counts)


def read_case_statistics(row: ModelFolds, fold: int, read: ReadRecords) -> FoldStatistics:
    """Build the statistics of a fold's cases from its records.

    Args:
        row: A model with clinical results.
        fold: One of its folds.
        read: Reads the records of a folder.

    Raises:
        UserError: Records or settings are damaged.
    """
    how = _measurement(row, fold)
    assert how.clinical is not None
    return case_statistics(read(row.records_folder(fold)), how.clinical)


def _measurement(row: ModelFolds, fold: int) -> Measurement:
    """Give how a fold's results were measured."""
    run, result = row.runs[fold], row.results[fold]
    if run.identity.matching not in get_args(Matching):
        raise UserError(f"{run.folder}: unknown matching '{run.identity.matching}'.")
    how = Measurement(
        category_names=result.category_names,
        isthing=_isthing(result),
        threshold=row.threshold,
        matching=cast(Matching, run.identity.matching),
        max_detections=_max_detections(run.identity.measurement),
        dice_reduction=_dice_reduction(run.identity.measurement),
        thresholds=result.thresholds,
    )
    clinical = result.clinical
    if clinical is not None:
        try:
            settings = _SETTINGS.validate_python(clinical.settings)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise UserError(
                f"{run.folder}: results: clinical.settings.{where}: {error.errors()[0]['msg']}."
            ) from error
        how = replace(
            how,
            isthing=clinical.isthing,
            max_detections=clinical.max_detections,
            dice_reduction=clinical.dice_reduction,
            clinical=settings,
        )
    return how


def _isthing(result: EvaluationResult) -> list[bool]:
    """Tell the classes with AP, which only classes have whose instances are told apart."""
    curves = result.average_precision_by_category
    return [not all(map(math.isnan, curves[name])) for name in result.category_names]


def _dice_reduction(measurement: Mapping[str, Setting]) -> Literal["pooled", "by_image"] | None:
    match measurement.get("metrics.dice_reduction"):
        case "pooled":
            return "pooled"
        case "by_image":
            return "by_image"
        case _:
            return None


def _max_detections(measurement: Mapping[str, Setting]) -> int | None:
    number = measurement.get("metrics.max_detections")
    return number if isinstance(number, int) and number > 0 else None


def _check_values(row: ModelFolds, fold: int, own: FoldStatistics) -> None:
    """Refuse records that do not give the results' PQ and Dice."""
    for group, metric in (("segments", "PQ"), ("Dice", "Dice")):
        if group not in own.statistics:
            continue
        value = measure_once(own.statistics[group])[metric]
        expected = row.results[fold].at(row.threshold)[METRICS[metric]]
        if not math.isclose(value, expected, abs_tol=1e-9) and not (
            math.isnan(value) and math.isnan(expected)
        ):
            raise UserError(
                f"{row.records_folder(fold)}: the records give a {metric} of {value}, the results "
                f"{expected}: they are not of one evaluation."
            )
