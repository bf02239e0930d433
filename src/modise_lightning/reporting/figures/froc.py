"""FROC: sensitivity for lesions against false positives an image, what radiology readers expect."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.caption import caption_of, fold_note
from modise_lightning.reporting.figures.curves import FoldCurve, froc_curves
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

ANY_LESION = "any lesion"
_POINTS_BETWEEN = 40  # of a curve, between two operating points; chosen: steps look like steps


def froc_data(
    models: Sequence[ModelRecords],
    *,
    threshold: float,
    operating_points: Sequence[float],
    folds: FoldPooling,
    max_detections: int,
) -> pd.DataFrame:
    """Compute the curves, a row a model, class and rate of false positives.

    Args:
        models: Of one dataset.
        threshold: IoU from which a detection hits a lesion.
        operating_points: Rising rates of false positives an image that are marked and averaged.
        folds: ``average``: the sensitivity at each rate is averaged over the folds; ``pool``: all folds'
            detections make one ranking.
        max_detections: Detections of an image and class that count, by score.
    """
    rates = _rates(operating_points)
    frames = []
    for model in models:
        labels = [label for label, _ in model.things]
        curves = froc_curves(
            model.detections(pooling=folds, max_detections=max_detections),
            labels=labels if len(labels) > 1 else [],
            threshold=threshold,
            rates=rates,
            operating_points=operating_points,
        )
        for label, curve in curves.items():
            category = ANY_LESION if label is None else model.category_names[label]
            frames.append(_frame(model.row.label, category, curve, operating_points))
    return pd.concat(frames, ignore_index=True)


def draw_froc(table: DatasetTable, data: pd.DataFrame, *, threshold: float, folds: FoldPooling) -> Figure:
    """Draw a panel for all lesions and one for each class.

    Args:
        table: Of the dataset.
        data: Of ``froc_data``.
        threshold: As in the data.
        folds: As in the data.
    """
    models = [row.label for row in table.models]
    classes = data["class"].unique().tolist()
    categories = classes if len(classes) <= MOST_CLASSES + 1 else [ANY_LESION]
    columns = len(categories) if len(categories) <= 4 else 3
    rows = -(-len(categories) // columns)
    points = data.loc[data["operating_point"], "false_positives_per_image"].unique()
    caption = caption_of(table).of(
        "FROC",
        fold_note(table) if folds == "average" else "Lines: the detections of all folds in one ranking.",
        f"A lesion is found by a detection with an IoU of at least {threshold:g} and of its class (in "
        f"'{ANY_LESION}': of any class); a detection that overlaps no such lesion is a false positive. "
        f"Marked: operating points; mean: the sensitivity's mean over these {len(points)}."
        + ("" if categories is classes else f" Of {len(classes) - 1} classes only all together are drawn."),
    )
    with figure_style():
        figure, axes = make_sheet(
            rows,
            columns,
            width=max(FULL_WIDTH * min(1, columns / 3), 3.0),
            panel_height=2.2,
            caption=caption,
            legend=model_legend(models),
            sharex=True,
            sharey=True,
        )
        for axis in axes.flat[len(categories) :]:
            axis.set_visible(False)
        for position, category in enumerate(categories):
            axis = axes.flat[position]
            areas = []
            for index, model in enumerate(models):
                own = data[(data["class"] == category) & (data["model"] == model)]
                rate, mean, deviation = (
                    own[name].to_numpy()
                    for name in ("false_positives_per_image", "sensitivity", "sensitivity_std")
                )
                style = line_style(index)
                marked = np.flatnonzero(own["operating_point"]).tolist()
                axis.plot(rate, mean, markevery=marked, zorder=3, clip_on=False, **style)
                draw_band(axis, rate, mean, deviation, highest=1, color=style["color"])
                areas.append((own["mean_sensitivity"].iloc[0], own["mean_sensitivity_std"].iloc[0]))
            axis.set_xscale("log", base=2)
            axis.set(xlim=(points[0], points[-1]), ylim=(0, 1.02))
            write_areas(axis, "mean", areas, ("lower right", "upper left"))
            axis.xaxis.set_major_locator(FixedLocator(points))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xticks(points, [str(Fraction(point).limit_denominator(64)) for point in points])
            axis.set_title(category)
            axis.set_xlabel("False positives per image" if position + columns >= len(categories) else "")
            axis.set_ylabel("Sensitivity" if position % columns == 0 else "")
            axis.tick_params(labelbottom=position + columns >= len(categories))
        letter_panels(axes)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure


def _rates(operating_points: Sequence[float]) -> np.ndarray:
    parts = [
        np.geomspace(low, high, _POINTS_BETWEEN, endpoint=False) for low, high in pairwise(operating_points)
    ]
    return np.array(sorted({*np.concatenate(parts).tolist(), *operating_points}))


def _frame(model: str, category: str, curve: FoldCurve, operating_points: Sequence[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": model,
            "class": category,
            "false_positives_per_image": curve.x,
            "operating_point": np.isin(curve.x, operating_points),
            "sensitivity": curve.mean,
            "sensitivity_std": curve.deviation,
            "num_folds": curve.area.count,
            "mean_sensitivity": curve.area.mean,
            "mean_sensitivity_std": curve.area.deviation,
        }
    )
