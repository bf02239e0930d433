"""Qualitative grids (the paper's Figures 2 and S2): images, truth and predictions beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.patheffects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modise_lightning.reporting.comparison import (
    COLOR_MAP,
    LEAST_INSTANCE_SCORE,
    MOST_INSTANCES,
    ComparisonRow,
)
from modise_lightning.reporting.figures.caption import Caption
from modise_lightning.reporting.figures.grid_cells import (
    Cell,
    Score,
    heat_cell,
    image_cell,
    instances_cell,
    segments_cell,
)
from modise_lightning.reporting.figures.image_choice import ChosenImage
from modise_lightning.reporting.figures.sheet import FULL_WIDTH, fit_titles, make_sheet, settle_layout
from modise_lightning.reporting.figures.style import SMALL, figure_style
from modise_lightning.reporting.pictures.many_classes import shown_in_legend
from modise_lightning.reporting.pictures.text import hex_color
from modise_lightning.structures import Category

_SCORE = 5.0  # points
_ROOM_LEFT, _ROOM_RIGHT = 0.32, 0.45  # inches, for the names of the rows and for the scale


@dataclass(frozen=True)
class PredictedImages:
    """Images with their truth and what a checkpoint says of them.

    Attributes:
        rows: By image id.
        categories: Names and colours of the classes.
        note: What pictures of the dataset have to carry (its attribution); None for nothing.
    """

    rows: dict[int, ComparisonRow]
    categories: tuple[Category, ...]
    note: str | None


def qualitative_data(images: Sequence[ChosenImage]) -> pd.DataFrame:
    """Say which images the grids show, a row an image and model.

    Args:
        images: Of ``choose_images``.
    """
    rows = [
        (label, image.image_id, image.file_name, image.fold, image.reason, dice)
        for image in images
        for label, dice in image.dice.items()
    ]
    return pd.DataFrame(rows, columns=["model", "image_id", "file_name", "fold", "reason", "dice"])


def draw_qualitative_grid(
    caption: Caption,
    images: Sequence[ChosenImage],
    label: str,
    rows: Mapping[int, ComparisonRow],
    categories: Sequence[Category],
) -> Figure:
    """Draw one model: a row an image, with its truth, panoptic, instance and semantic results beside it.

    Args:
        caption: Of the dataset, with its attribution.
        images: From top to bottom.
        label: The model.
        rows: Images and predictions, by image id.
        categories: Names and colours of the classes.
    """
    own = caption.of(
        f"Predictions of {label}",
        f"Instances: the best {MOST_INSTANCES} with a score of at least {LEAST_INSTANCE_SCORE:g}, and their "
        "scores. Semantic: the largest class value of each pixel.",
        _DICE_NOTE,
    )
    cells = [
        [
            image_cell(row),
            segments_cell(row, row.target, categories),
            segments_cell(row, row.prediction.panoptic, categories),
            instances_cell(row, categories),
            heat_cell(row),
        ]
        for row in (rows[image.image_id] for image in images)
    ]
    categories = _occurring(categories, [rows[image.image_id] for image in images])
    titles = ["Image", "Ground truth", "Panoptic", "Instances", "Semantic"]
    names = [_row_name(image, image.dice[label]) for image in images]
    return _draw_grid(own, titles, names, cells, categories, with_scale=True)


def draw_model_comparison(
    caption: Caption,
    images: Sequence[ChosenImage],
    rows_of_models: Mapping[str, Mapping[int, ComparisonRow]],
    categories: Sequence[Category],
) -> Figure:
    """Draw all models: a row an image; image, truth and each model's panoptic result beside each other.

    Args:
        caption: Of the dataset, with its attribution.
        images: From top to bottom.
        rows_of_models: Images and predictions, by model and image id.
        categories: Names and colours of the classes.
    """
    own = caption.of("Panoptic results", _DICE_NOTE)
    cells = []
    for image in images:
        predicted = [rows[image.image_id] for rows in rows_of_models.values()]
        cells.append(
            [
                image_cell(predicted[0]),
                segments_cell(predicted[0], predicted[0].target, categories),
                *(segments_cell(row, row.prediction.panoptic, categories) for row in predicted),
            ]
        )
    names = [_row_name(image, float(np.mean(list(image.dice.values())))) for image in images]
    seen = [rows[image.image_id] for rows in rows_of_models.values() for image in images]
    categories = _occurring(categories, seen)
    titles = ["Image", "Ground truth", *rows_of_models]
    return _draw_grid(own, titles, names, cells, categories, with_scale=False)


_DICE_NOTE = "Beside each row: why the image was chosen, its Dice (mean of the models shown), and its file."


def with_attribution(caption: Caption, note: str | None) -> Caption:
    """Add what pictures of a dataset have to carry."""
    return caption if note is None else replace(caption, notes=(*caption.notes, note))


def _occurring(categories: Sequence[Category], rows: Sequence[ComparisonRow]) -> list[Category]:
    """Choose the classes of the legend: of many those that the images and predictions show most often."""
    shown = [found for row in rows for found in (row.target, row.prediction.panoptic)]
    return shown_in_legend(categories, [label for found in shown for label in found.labels.tolist()])[0]


def _row_name(image: ChosenImage, dice: float) -> str:
    value = "" if math.isnan(dice) else f", Dice {100 * dice:.1f} %"
    return f"{image.reason.capitalize()}{value}\n{image.file_name}"


def _draw_grid(
    caption: Caption,
    titles: Sequence[str],
    names: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    categories: Sequence[Category],
    *,
    with_scale: bool,
) -> Figure:
    tallest = max(row[0].picture.shape[0] / row[0].picture.shape[1] for row in cells)
    right = _ROOM_RIGHT if with_scale else 0.05
    side = (FULL_WIDTH - _ROOM_LEFT - right) / len(titles)
    legend = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="s",
            markersize=6,
            color=hex_color(category.color),
            label=category.name,
        )
        for category in categories
    ]
    with figure_style():
        figure, axes = make_sheet(
            len(cells),
            len(titles),
            width=FULL_WIDTH,
            panel_height=side * tallest,
            room_below=0.2,
            caption=caption,
            legend=legend,
        )
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
        for (row, column), axis in np.ndenumerate(axes):
            _draw_cell(axis, cells[row][column], side)
            if row == 0:
                axis.set_title(titles[column], loc="center", fontsize=SMALL + 0.5)
            if column == 0:
                axis.set_ylabel(names[row], fontsize=SMALL - 1, linespacing=1.3)
        if with_scale:
            scale = ScalarMappable(Normalize(0, 1), COLOR_MAP)
            bar = figure.colorbar(scale, ax=axes[:, -1].tolist(), aspect=18 * len(cells), pad=0.03)
            bar.set_label("Semantic value", fontsize=SMALL)
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=2, labelsize=SMALL - 1)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure


def _draw_cell(axis: Axes, cell: Cell, side: float) -> None:
    axis.imshow(cell.picture)
    for mask, color in cell.outlines:
        if mask.max() > 0.5:
            axis.contour(mask, levels=[0.5], colors="black", linewidths=1.5, alpha=0.5)
            axis.contour(mask, levels=[0.5], colors=[hex_color(color)], linewidths=0.9)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    height, width = cell.picture.shape[:2]
    letters = 1.25 * _SCORE * max(height, width) / (72 * side * max(1, height / width))
    for score, (x, y) in zip(cell.scores, _places(cell.scores, height, width, letters), strict=True):
        axis.text(
            x,
            y,
            score.text,
            color=hex_color(score.color),
            fontsize=_SCORE,
            fontweight="bold",
            ha="center",
            va="bottom",
            path_effects=[matplotlib.patheffects.withStroke(linewidth=1.4, foreground="black")],
        )


def _places(scores: Sequence[Score], height: int, width: int, letters: float) -> list[tuple[float, float]]:
    """Place each score above its segment, or as near to that as leaves the others readable.

    Args:
        scores: The first one has the first choice.
        height: Of the picture in pixels.
        width: Of the picture in pixels.
        letters: Height of a line of text in pixels.

    Returns:
        Bottom middle of each text in pixels.
    """
    places: list[tuple[float, float]] = []
    for score in scores:
        x = min(max(score.x, 1.3 * letters), width - 1.3 * letters)
        above = max(score.y - 0.3 * letters, letters)
        heights = [above - level * letters for level in range(len(scores))]
        heights += [above + level * letters for level in range(1, len(scores))]
        free = [
            y
            for y in heights
            if letters <= y <= height
            and not any(
                abs(x - other_x) < 2.5 * letters and abs(y - other_y) < 0.99 * letters
                for other_x, other_y in places
            )
        ]
        places.append((x, free[0] if free else above))
    return places
