"""Reliability diagrams: how often instances of a score are correct, a panel a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MultipleLocator, NullLocator, StrMethodFormatter

from modise_lightning.metrics.curves.calibration import measure_reliability
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
from modise_lightning.reporting.figures.style import ACCENT, FAINT, SMALL, figure_style

_CONFIDENCE = 0.95  # of the intervals; usual
_COLUMNS = 3


def calibration_data(
    models: Sequence[ModelRecords],
    *,
    threshold: float | None,
    num_bins: int,
    least_score: float,
    max_detections: int,
) -> pd.DataFrame:
    """Bin the instances of all folds together by score, a row a model and bin.

    Args:
        models: Of one dataset.
        threshold: IoU from which an instance is correct; None takes the one that each model is reported at.
        num_bins: Bins of equal width over [0, 1].
        least_score: Instances below it are left out.
        max_detections: Detections of an image and class that count, by score.
    """
    frames = []
    for model in models:
        (detections,) = model.detections(pooling="pool", max_detections=max_detections)
        own_threshold = model.row.threshold if threshold is None else threshold
        kept = detections.scores >= least_score
        found = measure_reliability(
            detections.scores[kept],
            detections.match(own_threshold)[kept],
            num_bins=num_bins,
            confidence=_CONFIDENCE,
        )
        frames.append(
            pd.DataFrame(
                {
                    "model": model.row.label,
                    "iou_threshold": own_threshold,
                    "bin_from": found.edges[:-1],
                    "bin_to": found.edges[1:],
                    "count": found.counts,
                    "mean_score": found.mean_score,
                    "correct": found.accuracy,
                    "correct_low": found.low,
                    "correct_high": found.high,
                    "expected_calibration_error": found.error,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def draw_calibration(table: DatasetTable, data: pd.DataFrame, *, least_score: float) -> Figure:
    """Draw a panel a model, and under each how many instances there are of each score.

    Args:
        table: Of the dataset.
        data: Of ``calibration_data``.
        least_score: As in the data.
    """
    models = [row.label for row in table.models]
    columns = min(_COLUMNS, len(models))
    rows = -(-len(models) // columns)
    thresholds = sorted(set(data["iou_threshold"]))
    overlap = f"at least {thresholds[0]:g}" if len(thresholds) == 1 else "at least its model's T"
    all_scores = "" if least_score == 0 else f" Scores below {least_score:g} are left out."
    caption = caption_of(table).of(
        "Calibration of instance scores",
        f"Correct: an instance that takes a true lesion of its class with an IoU of {overlap}; a second one "
        "on the same lesion is wrong. Points: correct share of a bin of scores, all folds together, with "
        "95 % intervals (Wilson); dashed: perfect calibration. ECE: expected calibration error."
        f"{all_scores}",
    )
    with figure_style():
        figure, axes = make_sheet(
            2 * rows,
            columns,
            width=max(FULL_WIDTH * columns / _COLUMNS, 3.2),
            panel_height=1.5,
            caption=caption,
            legend=[],
            sharex=True,
            sharey="row",
            gridspec_kw={"height_ratios": [3, 1] * rows},
        )
        for position in range(rows * columns):
            row, column = divmod(position, columns)
            upper, lower = axes[2 * row, column], axes[2 * row + 1, column]
            if position >= len(models):
                upper.set_visible(False)
                lower.set_visible(False)
                continue
            own = data[data["model"] == models[position]]
            _draw_reliability(upper, own)
            _draw_counts(lower, own, int(data["count"].max()))
            several = len(thresholds) > 1
            upper.set_title(models[position] + (f", T = {own['iou_threshold'].iloc[0]:g}" if several else ""))
            upper.set_ylabel("Correct" if column == 0 else "")
            lower.set_ylabel("Instances" if column == 0 else "")
            lower.set_xlabel("Score")
            lower.tick_params(labelbottom=True)
        letter_panels(axes[::2])
        settle_layout(figure)
        fit_titles(figure, axes[::2])
    return figure


def _draw_reliability(axis: Axes, own: pd.DataFrame) -> None:
    filled = own[own["count"] > 0]
    correct = filled["correct"].to_numpy()
    reach = np.abs(filled[["correct_low", "correct_high"]].to_numpy().T - correct)
    axis.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (4, 3)), linewidth=0.9)
    axis.errorbar(
        filled["mean_score"],
        correct,
        yerr=reach,
        color=ACCENT,
        marker="o",
        markersize=4,
        elinewidth=0.9,
        capsize=1.8,
        zorder=3,
        clip_on=False,
    )
    error = own["expected_calibration_error"].iloc[0]
    text = f"ECE {100 * error:.1f} %\n{int(own['count'].sum())} instances" if len(filled) else "no instances"
    axis.text(0.04, 0.97, text, transform=axis.transAxes, va="top", fontsize=SMALL, linespacing=1.4)
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.xaxis.set_major_locator(MultipleLocator(0.2))
    axis.yaxis.set_major_locator(MultipleLocator(0.2))


def _draw_counts(axis: Axes, own: pd.DataFrame, most: int) -> None:
    width = own["bin_to"] - own["bin_from"]
    axis.bar(own["bin_from"], own["count"], width=0.9 * width, align="edge", color="#9FB8CC")
    axis.set_yscale("log")
    axis.set_ylim(0.8, 2 * max(most, 10))
    axis.yaxis.set_major_locator(LogLocator(numticks=5))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axis.yaxis.set_minor_locator(NullLocator())
