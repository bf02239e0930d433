"""Draws an evaluation's curves over the IoU threshold and its confusion of classes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.confusion import Confusion
from modise_lightning.reporting.pictures.many_classes import (
    MOST_CLASSES,
    merge_other_classes,
    most_frequent_classes,
)
from modise_lightning.structures import Category

CURVES = ("panoptic_quality", "recognition_quality", "segmentation_quality", "average_precision")
_DOTS_PER_INCH = 120


def draw_threshold_curves(
    result: EvaluationResult, categories: Sequence[Category], title: str
) -> NDArray[np.uint8]:
    """Draw each metric against the IoU threshold: a line a class in its colour, and their mean in black.

    Where there are many classes, their lines are faint and have no names.

    Args:
        result: Of an evaluation.
        categories: Names and colours of the result's classes.
        title: Above all.

    Returns:
        (H, W, 3) RGB.
    """
    figure = Figure(figsize=(11, 3.4), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(1, len(CURVES), sharey=True)
    for axis, metric in zip(axes, CURVES, strict=True):
        by_category: dict[str, list[float]] = getattr(result, f"{metric}_by_category")
        for index, category in enumerate(categories):
            style: dict[str, Any] = {"color": tuple(value / 255 for value in category.color)}
            style["label"] = category.name
            if len(categories) > MOST_CLASSES:
                style |= {"linewidth": 0.6, "alpha": 0.4}
                # A leading underscore keeps a line out of the legend.
                style["label"] = "_" if index else f"one of {len(categories)} classes"
            axis.plot(result.thresholds, by_category[category.name], **style)
        axis.plot(result.thresholds, getattr(result, metric), color="black", linewidth=2, label="mean")
        axis.axvline(result.best_threshold, color="0.6", linestyle=":", label="best threshold")
        axis.set_title(metric.replace("_", " "), fontsize=10)
        axis.set_xlabel("IoU threshold")
        axis.set_ylim(-0.02, 1.02)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(title)
    return _to_rgb(figure)


def draw_confusion(confusion: Confusion, title: str) -> NDArray[np.uint8]:
    """Draw the counts as a table shaded by the share of each true class.

    Of many classes the most frequent ones have rows of their own.

    Args:
        confusion: Of an evaluation.
        title: Above it.

    Returns:
        (H, W, 3) RGB.
    """
    classes = confusion.names[:-1]
    chosen = most_frequent_classes(confusion.counts)
    names, counts = merge_other_classes(classes, confusion.counts, chosen)
    names.append(confusion.names[-1])
    if len(chosen) < len(classes):
        title += f"\nthe most frequent {len(chosen)} of {len(classes)} classes, the others together"
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.8 * len(counts)
    figure = Figure(figsize=(size + 0.6, size), dpi=_DOTS_PER_INCH, layout="constrained")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    last = len(counts) - 1
    for row, column in np.ndindex(*counts.shape):
        if (row, column) != (last, last):  # where nothing is and nothing is predicted, nothing can be counted
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    axis.set_xticks(range(len(counts)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(counts)), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"{title}\npairs with IoU > {confusion.threshold:g}", fontsize=10)
    return _to_rgb(figure)


def _to_rgb(figure: Figure) -> NDArray[np.uint8]:
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib gives these methods no types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
