"""Puts a report together and renders it as one HTML file that needs nothing else."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.reporting.clinical.model_folds import StatisticsReader, with_clinical_results
from modise_lightning.reporting.cross_validation.runs import checkpoint_of
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.all_figures import make_curves
from modise_lightning.reporting.figures.model_records import read_models
from modise_lightning.reporting.html_report.data_uri import figure_uri
from modise_lightning.reporting.html_report.gallery import Gallery, Predict, make_gallery
from modise_lightning.reporting.html_report.rendering import render_page
from modise_lightning.reporting.html_report.result_tables import report_tables
from modise_lightning.reporting.html_report.settings import ReportSettings
from modise_lightning.reporting.pictures.attempt import attempt_picture
from modise_lightning.reporting.text_tables.rendering import TextTable

_CHART_TITLES = {
    "threshold_ablation": "Panoptic, recognition and segmentation quality over the IoU threshold",
    "precision_recall": "Precision and recall of instances",
    "froc": "Sensitivity against false positives an image (FROC)",
    "calibration": "Calibration of scores",
    "confusion": "Confusion of classes",
    "roc": "ROC of cases",
    "strata": "Lesions found, by stratum",
}


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes:
        title: What it shows.
        picture: Data URI.
    """

    title: str
    picture: str


@dataclass(frozen=True)
class Report:
    """Everything that a page shows.

    Attributes:
        table: The dataset with its models and runs.
        tables: Results, and their comparison.
        charts: Curves.
        galleries: One a trained model; none where no pictures are wanted.
        left_out: Charts and galleries that could not be made, and why.
        undefined: Clinical charts that the data do not allow, and why.
    """

    table: DatasetTable
    tables: list[TextTable]
    charts: list[Chart]
    galleries: list[Gallery]
    left_out: list[str]
    undefined: list[str]


def make_report(table: DatasetTable, settings: ReportSettings, predict: Predict) -> Report:
    """Gather what a dataset's report shows.

    Args:
        table: Of one dataset.
        settings: What, and how much.
        predict: Runs a checkpoint, for the galleries.

    Raises:
        UserError: A run has no records, or damaged ones.
    """
    read = functools.cache(read_records)
    needs_records = set(settings.figures) - {"threshold_ablation", "roc", "strata"}
    records = read_models(table.models, read) if needs_records else []
    charts, galleries, left_out = list[Chart](), list[Gallery](), list[str]()
    for name in dict.fromkeys(settings.figures):
        with attempt_picture(f"{name} of {table.dataset}", left_out):
            picture = figure_uri(make_curves(name, table, records, settings, read).figure)
            charts.append(Chart(_CHART_TITLES[name], picture))
    undefined = list[str]()
    for name in settings.clinical_figures if with_clinical_results(table) else ():
        if name in settings.figures:
            continue
        try:
            picture = figure_uri(make_curves(name, table, [], settings, read).figure)
            charts.append(Chart(_CHART_TITLES[name], picture))
        except UserError as error:
            undefined.append(str(error).removeprefix("figures: "))
    # Baselines have no checkpoint.
    trained = [row for row in table.models if row.model == "trained"] if settings.gallery.max_images else []
    for row in trained:
        with attempt_picture(f"images of {row.label}", left_out):
            galleries.append(make_gallery(row, settings.gallery, predict))
    tables = report_tables(table, settings.comparison, StatisticsReader(read))
    return Report(table, tables, charts, galleries, left_out, undefined)


def render_report(report: Report) -> str:
    """Write a report as HTML.

    Args:
        report: What it shows.
    """
    return render_page(
        "report.html.jinja",
        "report.js",
        {"percent": _percent, "listed": _listed},
        report=report,
        table=report.table,
        checkpoint_of=checkpoint_of,
    )


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
