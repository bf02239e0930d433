"""Turns an evaluation into what Weights & Biases shows: curves, tables, and images with masks and boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import wandb
from numpy.typing import NDArray
from wandb.plot.custom_chart import CustomChart

from modise_lightning.metrics.evaluation import EvaluationResult
from modise_lightning.reporting.confusion import Confusion
from modise_lightning.reporting.evaluation_charts import CURVES
from modise_lightning.structures import Category, PanopticSegmentation, Prediction

_VOID_NAME = "void"


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
    """
    height, width = target.segment_ids.shape
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    names = {0: "background"} | {index + 1: category.name for index, category in enumerate(categories)}
    names[len(names)] = _VOID_NAME
    masks = {
        "truth": {"mask_data": _class_map(target, len(categories)), "class_labels": names},
        "prediction": {
            "mask_data": _class_map(prediction.panoptic, len(categories)),
            "class_labels": names,
        },
    }
    boxes = {"prediction": {"box_data": _boxes(prediction.panoptic, categories), "class_labels": names}}
    pixels = (np.clip(resized, 0, 1) * 255).round().astype(np.uint8)
    return wandb.Image(pixels, masks=masks, boxes=boxes, caption=caption)


def _class_map(segmentation: PanopticSegmentation, num_categories: int) -> NDArray[np.uint8]:
    """Give each pixel its class plus one; 0 without a segment, K + 1 for void."""
    ids = segmentation.segment_ids.cpu().numpy()
    of_segment = np.array([num_categories + 1, 0, *(segmentation.labels.cpu().numpy() + 1)], dtype=np.uint8)
    return np.asarray(of_segment[ids + 1])


def _boxes(segmentation: PanopticSegmentation, categories: Sequence[Category]) -> list[dict[str, Any]]:
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
            "class_id": label + 1,
            "box_caption": name if scores is None else f"{name} {scores[index]:.2f}",
        }
        if scores is not None:
            box["scores"] = {"score": scores[index]}
        boxes.append(box)
    return boxes


def make_threshold_curves(result: EvaluationResult) -> dict[str, CustomChart]:
    """Make a chart a metric: each class and the mean against the IoU threshold; NaN is left out."""
    charts = {}
    for metric in CURVES:
        lines = {**getattr(result, f"{metric}_by_category"), "mean": getattr(result, metric)}
        defined = {name: _defined(result.thresholds, values) for name, values in lines.items()}
        defined = {name: points for name, points in defined.items() if points[0]}
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
    """Make W&B's own chart of the confusion of classes; ``nothing`` stands for no segment."""
    true, predicted = np.nonzero(confusion.counts)
    repeats = confusion.counts[true, predicted]
    return wandb.plot.confusion_matrix(
        y_true=np.repeat(true, repeats).tolist(),
        preds=np.repeat(predicted, repeats).tolist(),
        class_names=confusion.names,
        title=f"pairs with IoU > {confusion.threshold:g}",
    )


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
