"""A sheet of images: ground truth beside the panoptic, instance and semantic predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.overlay import draw_overlay, to_grey_picture
from modise_lightning.reporting.text import draw_texts, text_size
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation, Prediction

_COLUMNS = ("image", "ground truth", "panoptic", "instances", "semantic")
_CELL = 320  # pixels of a cell's longer side
_GAP = 8
_TEXT = 15
_INK = (235, 235, 235)
_PAPER = 18
_LEAST_INSTANCE_SCORE = 0.3  # fainter instances would hide the others in a picture


@dataclass(frozen=True)
class ComparisonRow:
    """One image of the sheet.

    Attributes:
        name: Written under the image.
        image: (H, W) float in [0, 1].
        target: Ground truth.
        prediction: What the model says.
    """

    name: str
    image: NDArray[np.float32]
    target: PanopticSegmentation
    prediction: Prediction


def draw_comparison(
    rows: Sequence[ComparisonRow], categories: Sequence[Category], note: str | None
) -> NDArray[np.uint8]:
    """Draw the sheet.

    Args:
        rows: Images from top to bottom.
        categories: Names and colours of the classes.
        note: A line at the bottom (that the data is synthetic, or its attribution).

    Returns:
        (H, W, 3) RGB.
    """
    line = int(_TEXT * 1.6)
    width = len(_COLUMNS) * (_CELL + _GAP) + _GAP
    height = line + len(rows) * (_CELL + line + _GAP) + 2 * line
    sheet = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    texts: list[tuple[tuple[int, int], str, tuple[int, int, int]]] = []
    for column, title in enumerate(_COLUMNS):
        texts.append(((_GAP + column * (_CELL + _GAP), 2), title, _INK))
    for position, row in enumerate(rows):
        top = line + position * (_CELL + line + _GAP)
        for column, cell in enumerate(_draw_cells(row, categories)):
            left = _GAP + column * (_CELL + _GAP)
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        texts.append(((_GAP, top + _CELL), row.name, _INK))
    bottom = height - 2 * line
    left = _GAP
    for category in categories:
        sheet[bottom + 4 : bottom + 4 + _TEXT, left : left + _TEXT] = category.color
        texts.append(((left + _TEXT + 6, bottom + 2), category.name, _INK))
        left += _TEXT + 6 + text_size(category.name, _TEXT)[0] + 3 * _GAP
    if note is not None:
        texts.append(((_GAP, bottom + line), note, _INK))
    return draw_texts(sheet, texts, _TEXT)


def _draw_cells(row: ComparisonRow, categories: Sequence[Category]) -> list[NDArray[np.uint8]]:
    scale = _CELL / max(row.image.shape)
    height, width = (max(1, round(side * scale)) for side in row.image.shape)
    shrinks = scale < 1
    image = np.asarray(
        cv2.resize(row.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR),
        dtype=np.float32,
    )
    maps = [row.target, row.prediction.panoptic, _flatten_instances(row.prediction.instances)]
    overlays = [
        draw_overlay(image, _resize(segmentation, height, width), categories) for segmentation in maps
    ]
    return [to_grey_picture(image), *overlays, _draw_heat(image, row.prediction.semantic)]


def _resize(segmentation: PanopticSegmentation, height: int, width: int) -> PanopticSegmentation:
    ids = segmentation.segment_ids.cpu().numpy().astype(np.int32)
    resized = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
    return PanopticSegmentation(
        torch.from_numpy(resized.astype(np.int64)), segmentation.labels.cpu(), segmentation.scores
    )


def _flatten_instances(instances: InstanceSegmentation) -> PanopticSegmentation:
    """Paint overlapping instances into one map, the more certain ones on top."""
    keep = instances.scores >= _LEAST_INSTANCE_SCORE
    order = instances.scores[keep].argsort()
    masks, labels, scores = (
        values[keep][order].cpu() for values in (instances.masks, instances.labels, instances.scores)
    )
    ids = torch.zeros(instances.masks.shape[-2:], dtype=torch.int64)
    for index, mask in enumerate(masks, start=1):
        ids[mask] = index
    return PanopticSegmentation(ids, labels, scores)


def _draw_heat(image: NDArray[np.float32], semantic: torch.Tensor) -> NDArray[np.uint8]:
    """Blend the largest class value of each pixel over the image in a perceptually uniform colour map."""
    height, width = image.shape
    values = semantic.max(0).values.float().cpu().clamp(0, 1).numpy()
    values = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    colors = matplotlib.colormaps["magma"](values)[..., :3] * 255
    grey = to_grey_picture(image).astype(np.float32)
    return (0.35 * grey + 0.65 * colors).clip(0, 255).astype(np.uint8)
