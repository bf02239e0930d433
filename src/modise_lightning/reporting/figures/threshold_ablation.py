"""Threshold ablation (the paper's Figure S1): PQ, RQ and SQ against the IoU threshold, a line a model."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from modise_lightning.reporting.cross_validation.models import METRICS, Summary, threshold_index
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.caption import caption_of, fold_note
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

_METRICS = {"PQ": "Panoptic quality", "RQ": "Recognition quality", "SQ": "Segmentation quality"}


def threshold_ablation_data(table: DatasetTable) -> pd.DataFrame:
    """Give what the figure shows, a row a model, metric and threshold, in percent.

    Args:
        table: Of one dataset.
    """
    rows = []
    for row in table.models:
        results = list(row.results.values())
        for metric in _METRICS:
            for index, threshold in enumerate(results[0].thresholds):
                summary = Summary.of([getattr(result, METRICS[metric])[index] for result in results])
                mean, deviation = 100 * summary.mean, 100 * summary.deviation
                rows.append((row.label, metric, threshold, summary.count, mean, deviation))
    return pd.DataFrame(rows, columns=["model", "metric", "iou_threshold", "num_folds", "mean", "std"])


def draw_threshold_ablation(table: DatasetTable) -> Figure:
    """Draw the figure.

    Args:
        table: Of one dataset.
    """
    data = threshold_ablation_data(table)
    matching = next(iter(table.models[0].runs.values())).identity.matching or "not known"
    caption = caption_of(table).of(
        "Threshold ablation",
        fold_note(table),
        "Filled markers: the threshold that the tables report. SQ of a class without a match is 0. "
        f"Matching below 0.5: {matching}.",
    )
    labels = [row.label for row in table.models]
    with figure_style():
        figure, axes = make_sheet(
            1, 3, width=FULL_WIDTH, panel_height=2.35, caption=caption, legend=model_legend(labels)
        )
        for axis, (metric, name) in zip(axes[0], _METRICS.items(), strict=True):
            for index, row in enumerate(table.models):
                own = data[(data["model"] == row.label) & (data["metric"] == metric)]
                thresholds, mean = own["iou_threshold"].to_numpy(), own["mean"].to_numpy()
                deviation = own["std"].to_numpy()
                style = line_style(index)
                # Markers of different models stand at different thresholds, so that none hides another.
                every = (index % 3, 3)
                axis.plot(thresholds, mean, markevery=every, zorder=3, **style)
                draw_band(axis, thresholds, mean, deviation, highest=100, color=style["color"])
                chosen = threshold_index(next(iter(row.results.values())), row.threshold)
                axis.plot(
                    thresholds[chosen],
                    mean[chosen],
                    marker=style["marker"],
                    color=style["color"],
                    markersize=5.5,
                    zorder=4,
                )
            axis.set_title(name)
            axis.set_xlabel("IoU threshold T")
            axis.set_ylabel(f"{metric} (%)")
            axis.set_xlim(0, 1)
            axis.set_ylim(0, min(100, axis.get_ylim()[1]))
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        letter_panels(axes)
        settle_layout(figure)
        fit_titles(figure, axes)
    return figure
