"""Precision-recall curves of instances, at some IoU thresholds, for each class and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.caption import caption_of, fold_note
from modise_lightning.reporting.figures.curves import FoldCurve, precision_recall_curves
from modise_lightning.reporting.figures.model_records import FoldPooling, ModelRecords
from modise_lightning.reporting.figures.panel_text import write_areas
from modise_lightning.reporting.figures.sheet import (
    FULL_WIDTH,
    draw_band,
    fit_titles,
    letter_panels,
    make_sheet,
    model_legend,
    settle_layout,
)
from modise_lightning.reporting.figures.style import figure_style, line_style
from modise_lightning.reporting.pictures.many_classes import MOST_CLASSES

_MEAN = "mean over classes"
_POOLED = (
    "Lines: the detections of all folds in one ranking, though each fold's model has its own scale of scores."
)


def precision_recall_data(
    models: Sequence[ModelRecords],
    *,
    thresholds: Sequence[float],
    max_detections: int,
    folds: FoldPooling,
) -> pd.DataFrame:
    """Compute the curves, a row a model, class, threshold and recall point.

    Args:
        models: Of one dataset.
        thresholds: IoU from which a detection is correct.
        max_detections: Detections of an image and class that count, by score.
        folds: ``average``: precision at each recall point is averaged over the folds; ``pool``: all folds'
            detections make one ranking.
    """
    frames = []
    for model in models:
        detections = model.detections(pooling=folds, max_detections=max_detections)
        labels = [label for label, _ in model.things]
        for threshold in thresholds:
            curves = precision_recall_curves(detections, labels=labels, threshold=threshold)
            if len(labels) == 1:
                del curves[None]
            for label, curve in curves.items():
                category = _MEAN if label is None else model.category_names[label]
                frames.append(_frame(model.row.label, category, threshold, curve))
    return pd.concat(frames, ignore_index=True)


def draw_precision_recall(table: DatasetTable, data: pd.DataFrame, *, folds: FoldPooling) -> Figure:
    """Draw a row of panels for each class and a column for each threshold.

    Args:
        table: Of the dataset.
        data: Of ``precision_recall_data``.
        folds: As in the data.
    """
    models = [row.label for row in table.models]
    classes, thresholds = data["class"].unique().tolist(), data["iou_threshold"].unique().tolist()
    categories = classes if len(classes) <= MOST_CLASSES + 1 else [_MEAN]
    caption = caption_of(table).of(
        "Precision and recall of instances",
        fold_note(table) if folds == "average" else _POOLED,
        "Precision is COCO's, interpolated at 101 recall points; AP (%): area under a line."
        + ("" if categories is classes else f" Of {len(classes) - 1} classes only the mean is drawn."),
    )
    with figure_style():
        figure, axes = make_sheet(
            len(categories),
            len(thresholds),
            width=max(FULL_WIDTH * len(thresholds) / 3, 2.4),
            panel_height=2.1,
            caption=caption,
            legend=model_legend(models),
            sharex=True,
            sharey=True,
        )
        for (row, column), axis in np.ndenumerate(axes):
            here = (data["class"] == categories[row]) & (data["iou_threshold"] == thresholds[column])
            areas = []
            for index, model in enumerate(models):
                own = data[here & (data["model"] == model)]
                _draw_line(axis, own, index, len(models))
                areas.append((own["average_precision"].iloc[0], own["average_precision_std"].iloc[0]))
            axis.set_title(f"{categories[row]}, IoU ≥ {thresholds[column]:g}")
            axis.set(xlim=(0, 1), ylim=(0, 1.02))
            write_areas(axis, "AP", areas, ("lower left", "upper right"))
            axis.set_xlabel("Recall" if row == len(categories) - 1 else "")
            axis.set_ylabel("Precision" if column == 0 else "")
            axis.xaxis.set_major_locator(MultipleLocator(0.2))
            axis.yaxis.set_major_locator(MultipleLocator(0.2))
        letter_panels(axes)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure


def _draw_line(axis: Any, own: pd.DataFrame, index: int, num_models: int) -> None:  # noqa: ANN401
    recall, mean, deviation = (own[name].to_numpy() for name in ("recall", "precision", "precision_std"))
    style = line_style(index)
    every = (round(20 * index / num_models), 20)
    axis.plot(recall, mean, markevery=every, zorder=3, **style)
    draw_band(axis, recall, mean, deviation, highest=1, color=style["color"])


def _frame(model: str, category: str, threshold: float, curve: FoldCurve) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": model,
            "class": category,
            "iou_threshold": threshold,
            "recall": curve.x,
            "precision": curve.mean,
            "precision_std": curve.deviation,
            "num_folds": curve.area.count,
            "average_precision": curve.area.mean,
            "average_precision_std": curve.area.deviation,
        }
    )
