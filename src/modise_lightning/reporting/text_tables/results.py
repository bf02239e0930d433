"""The table that an evaluation ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


class Result(Protocol):
    """What the table shows of an evaluation; see ``metrics.evaluation.EvaluationResult``."""

    @property
    def num_images(self) -> int:
        """Number of images."""
        ...

    @property
    def category_names(self) -> list[str]:
        """Classes."""
        ...

    @property
    def thresholds(self) -> list[float]:
        """IoU thresholds."""
        ...

    @property
    def best_threshold(self) -> float:
        """The one that the table is at."""
        ...

    @property
    def panoptic_quality_by_category(self) -> dict[str, list[float]]:
        """At each threshold."""
        ...

    @property
    def recognition_quality_by_category(self) -> dict[str, list[float]]:
        """At each threshold."""
        ...

    @property
    def segmentation_quality_by_category(self) -> dict[str, list[float]]:
        """At each threshold."""
        ...

    @property
    def average_precision_by_category(self) -> dict[str, list[float]]:
        """At each threshold."""
        ...

    @property
    def dice_by_category(self) -> dict[str, float]:
        """Pooled over the images."""
        ...

    @property
    def panoptic_quality_at(self) -> dict[str, float]:
        """At the fixed thresholds, by threshold."""
        ...

    @property
    def class_agnostic(self) -> dict[str, list[float]] | None:
        """At each threshold, with all classes as one."""
        ...

    def at(self, threshold: float) -> dict[str, float]:
        """Means over the classes at one threshold."""
        ...


_COLUMNS = {
    "panoptic_quality": "PQ",
    "recognition_quality": "RQ",
    "segmentation_quality": "SQ",
    "average_precision": "AP",
    "dice": "Dice",
}
_CURVES = ("panoptic_quality", "recognition_quality", "segmentation_quality", "average_precision")


def render_results(
    title: str, results: Mapping[str, Result], note: str | None, unseen: Sequence[str] = ()
) -> Table:
    """Make the table: a row a model, and under the first one a row a class; in percent.

    Args:
        title: Above the table.
        results: By model; each at its own best threshold.
        note: Below the table (that the data is synthetic, or its attribution).
        unseen: Classes of which training had no text; a row each for their mean and for that of the others.
    """
    images = sorted({result.num_images for result in results.values()})
    caption = f"{' / '.join(map(str, images))} images; in percent, at the IoU threshold T with the best PQ"
    fixed = next(iter(results.values())).panoptic_quality_at
    if fixed:
        caption += "; PQ also at the fixed T that are named"
    # As Text, because names may hold brackets, which are markup in plain strings.
    table = Table(
        title=Text(title, style="bold"),
        caption=Text(caption if note is None else f"{caption}\n{note}", style="dim"),
        title_justify="left",
        caption_justify="left",
        # Nothing between the columns but a space: names stay whole in 80 columns.
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    table.add_column("")
    table.add_column("T", justify="right")
    for column in _COLUMNS.values():
        table.add_column(column, justify="right")
    for threshold in fixed:
        table.add_column(f"PQ {threshold}", justify="right")
    for position, (model, result) in enumerate(results.items()):
        means = result.at(result.best_threshold)
        cells = [_percent(means[name]) for name in _COLUMNS]
        cells += [_percent(result.panoptic_quality_at.get(threshold, math.nan)) for threshold in fixed]
        style = "bold" if position == 0 else None
        table.add_row(Text(model), f"{result.best_threshold:.2f}", *cells, style=style)
        if position == 0:
            for category in result.category_names:
                table.add_row(
                    Text(f"  {category}"), "", *_category_cells(result, category, list(fixed)), style="dim"
                )
            for name, cells in _summaries(result, unseen, list(fixed)).items():
                table.add_row(Text(name), "", *cells, style="italic")
            table.add_section()
    return table


def _summaries(result: Result, unseen: Sequence[str], fixed: Sequence[str]) -> dict[str, list[str]]:
    """Give rows of seen and unseen classes' means, and of all classes as one."""
    rows: dict[str, list[str]] = {}
    index = result.thresholds.index(result.best_threshold)
    shown = [index, *(place for place, value in enumerate(result.thresholds) if str(value) in fixed)]
    if unseen:
        for name, chosen in (("seen", set(result.category_names) - set(unseen)), ("unseen", set(unseen))):
            names = [category for category in result.category_names if category in chosen]
            if names:
                rows[f"{name} classes ({len(names)})"] = _means(result, names, shown)
    if result.class_agnostic is not None:
        curves = [result.class_agnostic[metric] for metric in _CURVES]
        cells = [_percent(curve[index]) for curve in curves]
        rows["whatever the class"] = [*cells, "", *(_percent(curves[0][place]) for place in shown[1:])]
    return rows


def _means(result: Result, names: Sequence[str], shown: Sequence[int]) -> list[str]:
    """Average over the classes that have a value, as the row of all classes does."""

    def mean(values: Sequence[float]) -> float:
        defined = [value for value in values if not math.isnan(value)]
        return sum(defined) / len(defined) if defined else math.nan

    index = shown[0]
    cells = [mean([curve[name][index] for name in names]) for curve in _curves(result)]
    cells.append(mean([result.dice_by_category[name] for name in names]))
    quality = result.panoptic_quality_by_category
    cells += [mean([quality[name][place] for name in names]) for place in shown[1:]]
    return [_percent(cell) for cell in cells]


def _curves(result: Result) -> tuple[dict[str, list[float]], ...]:
    return (
        result.panoptic_quality_by_category,
        result.recognition_quality_by_category,
        result.segmentation_quality_by_category,
        result.average_precision_by_category,
    )


def _category_cells(result: Result, category: str, fixed: Sequence[str]) -> list[str]:
    index = min(
        range(len(result.thresholds)), key=lambda index: abs(result.thresholds[index] - result.best_threshold)
    )
    return [
        *(_percent(curve[category][index]) for curve in _curves(result)),
        _percent(result.dice_by_category[category]),
        *(
            _percent(value)
            for threshold, value in zip(
                result.thresholds, result.panoptic_quality_by_category[category], strict=True
            )
            if str(threshold) in fixed
        ),
    ]


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
