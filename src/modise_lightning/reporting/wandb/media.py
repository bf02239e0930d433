"""Turns an evaluation into what Weights & Biases shows: curves, tables, and images with masks and boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import wandb
from numpy.typing import NDArray
from wandb.plot.custom_chart import CustomChart

from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.confusion import Confusion
from modise_lightning.reporting.evaluation_charts import CURVES
from modise_lightning.reporting.pictures.many_classes import (
    MOST_CLASSES,
    merge_other_classes,
    most_frequent_classes,
)
from modise_lightning.structures import Category, PanopticSegmentation, Prediction

_VOID_NAME = "void"
_MOST_CLASSES = 254  # of a mask of 8 bits, beside background and void


def make_prediction_image(
    image: NDArray[np.float32],
    target: PanopticSegmentation,
    prediction: Prediction,
    categories: Sequence[Category],
    caption: str,
) -> wandb.Image:
    """Make an image whose masks (truth, prediction) and boxes (prediction, with scores) can be toggled.

    Args:
        image: (h, w) in [0, 1]; resized to the truth's size.
        target: Truth at (H, W).
        prediction: At (H, W).
        categories: Names of the classes.
        caption: Below the image.

    Raises:
        ValueError: The image alone has more classes than W&B's masks, which are of 8 bits, can hold.
    """
    height, width = target.segment_ids.shape
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    shown = list(range(len(categories)))
    if len(shown) > _MOST_CLASSES:
        shown = sorted({*target.labels.tolist(), *prediction.panoptic.labels.tolist()})
    if len(shown) > _MOST_CLASSES:
        raise ValueError(f"{len(shown)} classes in one image; the dashboard tells {_MOST_CLASSES} apart")
    numbers = {label: number for number, label in enumerate(shown, start=1)}
    names = {0: "background"} | {number: categories[label].name for label, number in numbers.items()}
    names[len(names)] = _VOID_NAME
    masks = {
        "truth": {"mask_data": _class_map(target, numbers), "class_labels": names},
        "prediction": {"mask_data": _class_map(prediction.panoptic, numbers), "class_labels": names},
    }
    boxes = {
        "prediction": {"box_data": _boxes(prediction.panoptic, categories, numbers), "class_labels": names}
    }
    pixels = (np.clip(resized, 0, 1) * 255).round().astype(np.uint8)
    return wandb.Image(pixels, masks=masks, boxes=boxes, caption=caption)


def _class_map(segmentation: PanopticSegmentation, numbers: Mapping[int, int]) -> NDArray[np.uint8]:
    """Give each pixel its class's number; 0 without a segment, one more than all for void."""
    ids = segmentation.segment_ids.cpu().numpy()
    of_class = [numbers[label] for label in segmentation.labels.tolist()]
    of_segment = np.array([len(numbers) + 1, 0, *of_class], dtype=np.uint8)
    return np.asarray(of_segment[ids + 1])


def _boxes(
    segmentation: PanopticSegmentation, categories: Sequence[Category], numbers: Mapping[int, int]
) -> list[dict[str, Any]]:
    boxes = []
    scores = None if segmentation.scores is None else segmentation.scores.tolist()
    for index, (mask, label) in enumerate(
        zip(segmentation.each_mask(), segmentation.labels.tolist(), strict=True)
    ):
        rows, columns = np.nonzero(mask.cpu().numpy())
        if not len(rows):
            continue
        name = categories[label].name
        box: dict[str, Any] = {
            "position": {
                "minX": int(columns.min()),
                "maxX": int(columns.max()) + 1,
                "minY": int(rows.min()),
                "maxY": int(rows.max()) + 1,
            },
            "domain": "pixel",
            "class_id": numbers[label],
            "box_caption": name if scores is None else f"{name} {scores[index]:.2f}",
        }
        if scores is not None:
            box["scores"] = {"score": scores[index]}
        boxes.append(box)
    return boxes


def make_threshold_curves(result: EvaluationResult) -> dict[str, CustomChart]:
    """Make a chart a metric: each class and the mean against the IoU threshold.

    NaN is left out, and a metric that has nothing else.

    Where there are many classes, the chart is of the mean alone; the table by category holds all.
    """
    charts = {}
    for metric in CURVES:
        by_category = getattr(result, f"{metric}_by_category")
        lines = {**(by_category if len(by_category) <= MOST_CLASSES else {}), "mean": getattr(result, metric)}
        defined = {name: _defined(result.thresholds, values) for name, values in lines.items()}
        defined = {name: points for name, points in defined.items() if points[0]}
        if not defined:
            continue
        charts[metric] = wandb.plot.line_series(
            xs=[points[0] for points in defined.values()],
            ys=[points[1] for points in defined.values()],
            keys=list(defined),
            title=metric.replace("_", " "),
            xname="IoU threshold",
        )
    return charts


def _defined(thresholds: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    points = [point for point in zip(thresholds, values, strict=True) if not math.isnan(point[1])]
    return [threshold for threshold, _ in points], [value for _, value in points]


def make_category_table(result: EvaluationResult) -> wandb.Table:
    """Make a table with a row a class and IoU threshold; undefined values are empty."""
    columns: list[str | int] = ["category", "threshold", *CURVES, "dice"]
    rows: list[Iterable[Any]] = [
        [
            name,
            threshold,
            *(_none(getattr(result, f"{metric}_by_category")[name][index]) for metric in CURVES),
            _none(result.dice_by_category[name]),
        ]
        for name in result.category_names
        for index, threshold in enumerate(result.thresholds)
    ]
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def make_confusion_chart(confusion: Confusion) -> CustomChart:
    """Make W&B's own chart of the confusion of classes; ``nothing`` stands for no segment.

    Of many classes the most frequent ones have rows of their own.
    """
    classes = confusion.names[:-1]
    chosen = most_frequent_classes(confusion.counts)
    names, counts = merge_other_classes(classes, confusion.counts, chosen)
    title = f"pairs with IoU > {confusion.threshold:g}"
    if len(chosen) < len(classes):
        title += f"; the most frequent {len(chosen)} of {len(classes)} classes"
    true, predicted = np.nonzero(counts)
    repeats = counts[true, predicted]
    return wandb.plot.confusion_matrix(
        y_true=np.repeat(true, repeats).tolist(),
        preds=np.repeat(predicted, repeats).tolist(),
        class_names=[*names, confusion.names[-1]],
        title=title,
    )


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
