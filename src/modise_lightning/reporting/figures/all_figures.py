"""Makes the chosen figures of a dataset, each with the numbers that it shows."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.figure import Figure

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.evaluation_records import ReadRecords, read_records
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.cross_validation.runs import FinishedRun
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.calibration import calibration_data, draw_calibration
from modise_lightning.reporting.figures.caption import caption_of
from modise_lightning.reporting.figures.clinical import draw_roc, draw_strata, roc_data, strata_data
from modise_lightning.reporting.figures.confusion import confusion_data, draw_confusion_figure
from modise_lightning.reporting.figures.froc import draw_froc, froc_data
from modise_lightning.reporting.figures.image_choice import choose_images
from modise_lightning.reporting.figures.model_records import ModelRecords, read_models
from modise_lightning.reporting.figures.precision_recall import draw_precision_recall, precision_recall_data
from modise_lightning.reporting.figures.qualitative_grid import (
    PredictedImages,
    draw_model_comparison,
    draw_qualitative_grid,
    qualitative_data,
    with_attribution,
)
from modise_lightning.reporting.figures.settings import CurveSettings, FigureSettings, QualitativeGridSettings
from modise_lightning.reporting.figures.threshold_ablation import (
    draw_threshold_ablation,
    threshold_ablation_data,
)


@dataclass(frozen=True)
class MadeFigure:
    """A figure of a dataset.

    Attributes:
        name: Which figure.
        figure: What is drawn.
        data: The numbers behind it.
    """

    name: str
    figure: Figure
    data: pd.DataFrame


# Predicts images, by id, with the checkpoint of a run.
Predict = Callable[[FinishedRun, Sequence[int]], PredictedImages]


def make_figures(
    table: DatasetTable, settings: FigureSettings, predict: Predict
) -> Iterator[tuple[str, Callable[[], list[MadeFigure]]]]:
    """Give each chosen figure's name and what makes it, so that one that fails does not cost the others.

    Args:
        table: Of one dataset.
        settings: Which figures, and theirs.
        predict: Runs a checkpoint, for the qualitative grids.

    Raises:
        UserError: A run has no records, or damaged ones.
    """
    read = functools.cache(read_records)
    needs_records = set(settings.figures) - {"threshold_ablation", "roc", "strata"}
    models = read_models(table.models, read) if needs_records else []

    def make(name: str) -> list[MadeFigure]:
        if name == "qualitative_grid":
            made = _qualitative_grids(table, models, settings.qualitative_grid, predict)
        else:
            made = [make_curves(name, table, models, settings, read)]
        return [replace(each, data=_with_origin(each.data, table)) for each in made]

    for name in dict.fromkeys(settings.figures):
        yield name, functools.partial(make, name)


def _with_origin(data: pd.DataFrame, table: DatasetTable) -> pd.DataFrame:
    first = ["dataset", "synthetic"]
    data = data.assign(dataset=table.dataset, synthetic=table.synthetic)
    return data[[*first, *data.columns.drop(first)]]


def make_curves(
    name: str,
    table: DatasetTable,
    models: Sequence[ModelRecords],
    settings: CurveSettings,
    read: ReadRecords,
) -> MadeFigure:
    """Make one of the figures that are drawn from results and records.

    Args:
        name: Which one, of ``CurveName``.
        table: Of one dataset.
        models: Records of its models; may be empty for ``threshold_ablation``.
        settings: Theirs.
        read: Reads the records of a folder, for ``roc``.
    """
    folds, most = settings.folds, settings.max_detections
    match name:
        case "threshold_ablation":
            figure, data = draw_threshold_ablation(table), threshold_ablation_data(table)
        case "precision_recall":
            thresholds = settings.precision_recall.thresholds
            data = precision_recall_data(models, thresholds=thresholds, max_detections=most, folds=folds)
            figure = draw_precision_recall(table, data, folds=folds)
        case "froc":
            data = froc_data(
                models,
                threshold=settings.froc.threshold,
                operating_points=settings.froc.operating_points,
                folds=folds,
                max_detections=most,
            )
            figure = draw_froc(table, data, threshold=settings.froc.threshold, folds=folds)
        case "calibration":
            own = settings.calibration
            data = calibration_data(models, **own.model_dump(), max_detections=most)
            figure = draw_calibration(table, data, least_score=own.least_score)
        case "confusion":
            data = confusion_data(models, threshold=settings.confusion.threshold)
            figure = draw_confusion_figure(table, data)
        case "roc":
            data = roc_data(table, read)
            figure = draw_roc(table, data)
        case "strata":
            data = strata_data(table)
            figure = draw_strata(table, data)
        case _:
            raise ValueError(f"there is no figure {name}.")
    return MadeFigure(name, figure, data)


def _qualitative_grids(
    table: DatasetTable, models: Sequence[ModelRecords], settings: QualitativeGridSettings, predict: Predict
) -> list[MadeFigure]:
    """Make a grid of each trained model, and one of all of them."""
    trained = [model for model in models if model.row.model == "trained"]
    if not trained:
        raise UserError("qualitative_grid: models has no trained one, and only they have checkpoints.")
    images = choose_images(trained, **settings.model_dump(include={"images", "best", "median", "worst"}))
    data = qualitative_data(images)
    rows: dict[str, dict[int, ComparisonRow]] = {}
    grids = []
    for model in trained:
        label, own = model.row.label, {}
        for fold in sorted({image.fold for image in images}):
            ids = [image.image_id for image in images if image.fold == fold]
            predicted = predict(model.row.runs[fold], ids)
            own.update(predicted.rows)
        rows[label] = own
        caption = with_attribution(caption_of(table), None if table.synthetic else predicted.note)
        grid = draw_qualitative_grid(caption, images, label, own, predicted.categories)
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", label)
        grids.append(MadeFigure(f"qualitative_grid_{plain}", grid, data[data["model"] == label]))
    if len(trained) > 1:
        comparison = draw_model_comparison(caption, images, rows, predicted.categories)
        grids.append(MadeFigure("qualitative_comparison", comparison, data))
    return grids
