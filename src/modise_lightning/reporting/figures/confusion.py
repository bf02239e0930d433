"""Confusion of classes: what the segments of each true class are predicted as, a panel a model."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.caption import caption_of
from modise_lightning.reporting.figures.model_records import ModelRecords
from modise_lightning.reporting.figures.sheet import (
    FULL_WIDTH,
    fit_titles,
    letter_panels,
    make_sheet,
    settle_layout,
)
from modise_lightning.reporting.figures.style import INK, SMALL, figure_style
from modise_lightning.reporting.pictures.many_classes import merge_other_classes, most_frequent_classes

MISSED = "missed"  # column of true segments that nothing was predicted for
NO_LESION = "no lesion"  # row of predictions where nothing is
_COLUMNS = 3
_COLOR_MAP = "Blues"  # rises in darkness, for every kind of colour vision
_LINE_LENGTH = 13  # letters of a class name
_CELL = 0.38  # inches, so that a count of four digits fits


def confusion_data(models: Sequence[ModelRecords], *, threshold: float | None) -> pd.DataFrame:
    """Count pairs of true and predicted panoptic segments over all folds, a row a model and pair of classes.

    Args:
        models: Of one dataset.
        threshold: IoU that a pair exceeds; None takes the one that each model is reported at.
    """
    rows = []
    for model in models:
        own = model.row.threshold if threshold is None else threshold
        counts = sum(
            count_confusion(records, category_names=model.category_names, threshold=own).counts
            for records in model.by_fold.values()
        )
        true, predicted = [*model.category_names, NO_LESION], [*model.category_names, MISSED]
        for (row, column), count in np.ndenumerate(counts):
            if (row, column) != (len(true) - 1, len(predicted) - 1):
                rows.append((model.row.label, own, true[row], predicted[column], count))
    return pd.DataFrame(rows, columns=["model", "iou_threshold", "true", "predicted", "count"])


def draw_confusion_figure(table: DatasetTable, data: pd.DataFrame) -> Figure:
    """Draw a panel a model: the share of each true class in percent, and the count.

    Args:
        table: Of the dataset.
        data: Of ``confusion_data``.
    """
    models = [row.label for row in table.models]
    names = data["true"].unique().tolist()[:-1]
    counts_of = {model: _counts(data[data["model"] == model], names) for model in models}
    # Chosen over all models, so that their panels have the same classes.
    chosen = most_frequent_classes(np.sum(list(counts_of.values()), axis=0))
    shown, _ = merge_other_classes(names, counts_of[models[0]], chosen)
    true, predicted = [*shown, NO_LESION], [*shown, MISSED]
    columns = min(_COLUMNS, len(models))
    rows = -(-len(models) // columns)
    thresholds = sorted(set(data["iou_threshold"]))
    overlap = f"{thresholds[0]:g}" if len(thresholds) == 1 else "its model's T"
    caption = caption_of(table).of(
        "Confusion of classes",
        f"Panoptic segments in pairs with an IoU above {overlap} whatever their classes, all folds together: "
        f"percent of each row, and counts. Column '{MISSED}': nothing was predicted; row '{NO_LESION}': "
        "false positives by predicted class."
        + (
            f" The most frequent {len(chosen)} of {len(names)} classes, the others together."
            if len(chosen) < len(names)
            else ""
        ),
    )
    side = max(FULL_WIDTH / _COLUMNS - 0.6, _CELL * len(true))
    with figure_style():
        figure, axes = make_sheet(
            rows,
            columns,
            width=columns * (side + 0.28) + 0.96,
            panel_height=side + 0.36,
            room_below=0.55,
            caption=caption,
            legend=[],
            sharex=True,
            sharey=True,
        )
        for axis in axes.flat[len(models) :]:
            axis.set_visible(False)
        for position, model in enumerate(models):
            axis = axes.flat[position]
            own = data[data["model"] == model]
            counts = merge_other_classes(names, counts_of[model], chosen)[1].astype(float)
            counts[-1, -1] = np.nan
            _draw_counts(axis, counts)
            several = len(thresholds) > 1
            axis.set_title(model + (f", T = {own['iou_threshold'].iloc[0]:g}" if several else ""))
            axis.set_xlabel("Predicted" if position + columns >= len(models) else "")
            axis.set_ylabel("True" if position % columns == 0 else "")
            axis.set_xticks(
                range(len(predicted)), [_fill(name) for name in predicted], rotation=35, ha="right"
            )
            axis.set_yticks(range(len(true)), [_fill(name) for name in true])
            axis.tick_params(length=0, labelbottom=position + columns >= len(models))
        letter_panels(axes)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure


def _counts(own: pd.DataFrame, names: Sequence[str]) -> NDArray[np.int64]:
    """Give the (K + 1, K + 1) counts of a model; the last one, of nothing as nothing, is 0."""
    counts = own.pivot(index="true", columns="predicted", values="count")
    counts = counts.loc[[*names, NO_LESION], [*names, MISSED]].fillna(0)
    return counts.to_numpy(np.int64)


def _draw_counts(axis: Axes, counts: NDArray[np.float64]) -> None:
    """Draw shares of rows; the last cell, which cannot be counted (NaN), stays empty."""
    totals = np.nansum(counts, axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    axis.imshow(np.ma.masked_invalid(shares), cmap=_COLOR_MAP, vmin=0, vmax=1)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            continue
        color = "white" if share > 0.5 else INK
        axis.text(column, row - 0.12, f"{100 * share:.0f}", ha="center", va="center", color=color)
        axis.text(
            column,
            row + 0.24,
            f"{counts[row, column]:.0f}",
            ha="center",
            va="center",
            color=color,
            fontsize=SMALL - 1.5,
        )
    # White lines set off what was missed and what is no lesion.
    last = len(counts) - 1.5
    axis.axhline(last, color="white", linewidth=3)
    axis.axvline(last, color="white", linewidth=3)


def _fill(name: str) -> str:
    return textwrap.fill(name, _LINE_LENGTH)
