"""A sheet of images: ground truth beside the panoptic, instance and semantic predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.legend import color_mark, draw_legend, others_mark
from modise_lightning.reporting.pictures.many_classes import shown_in_legend
from modise_lightning.reporting.pictures.overlay import draw_instances, draw_overlay, to_grey_picture
from modise_lightning.reporting.pictures.text import Color, draw_texts, shorten_text, text_size
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation, Prediction

# Fainter or more instances would hide the others in a picture.
LEAST_INSTANCE_SCORE = 0.3
MOST_INSTANCES = 6
_COLUMNS = (
    "image",
    "ground truth",
    "panoptic",
    f"instances (≥ {LEAST_INSTANCE_SCORE}, best {MOST_INSTANCES})",
    "semantic",
)
_CELL = 360  # pixels of a cell's longer side
_NARROWEST = 210  # pixels of a column, so that its title fits
_GAP = 10
_TEXT = 16
_LINE = int(_TEXT * 1.6)
_INK = (235, 235, 235)
_FAINT = (165, 165, 165)
_PAPER = 24
COLOR_MAP = "magma"  # perceptually uniform, and rising in lightness for every kind of colour vision
HEAT = 0.65  # share of the heat map over the image

_Text = tuple[tuple[int, int], str, Color]


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
        rows: Images from top to bottom; at least one.
        categories: Names and colours of the classes.
        note: A line at the bottom (that the data is synthetic, or its attribution).

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("A comparison needs at least one row.")
    cells = [_draw_cells(row, categories) for row in rows]
    column_width = max(_NARROWEST, *(row_cells[0].shape[1] for row_cells in cells))
    cells_width = len(_COLUMNS) * (column_width + _GAP) - _GAP
    legend, legend_texts = _draw_legend(categories, rows, cells_width)
    note_width = 0 if note is None else text_size(note, _TEXT)[0]
    sheet_width = max(cells_width, legend.shape[1], note_width) + 2 * _GAP
    lefts = [_GAP + column * (column_width + _GAP) for column in range(len(_COLUMNS))]
    strips = [_paper(_GAP + _LINE, sheet_width)]
    texts: list[_Text] = [((left, _GAP), title, _INK) for left, title in zip(lefts, _COLUMNS, strict=True)]
    top = strips[0].shape[0]
    for row, row_cells in zip(rows, cells, strict=True):
        height, width = row_cells[0].shape[:2]
        strip = _paper(height + _LINE + _GAP, sheet_width)
        for left, cell in zip(lefts, row_cells, strict=True):
            start = left + (column_width - width) // 2
            strip[:height, start : start + width] = cell
        name = shorten_text(row.name, _TEXT, sheet_width - 2 * _GAP)
        texts.append(((_GAP, top + height + 2), name, _FAINT))
        strips.append(strip)
        top += strip.shape[0]
    strip = _paper(legend.shape[0] + _GAP + (0 if note is None else _LINE), sheet_width)
    strip[: legend.shape[0], _GAP : _GAP + legend.shape[1]] = legend
    texts += [((x + _GAP, y + top), text, color) for (x, y), text, color in legend_texts]
    if note is not None:
        texts.append(((_GAP, top + legend.shape[0]), note, _INK))
    return draw_texts(np.concatenate([*strips, strip]), texts, _TEXT)


def _paper(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)


def _draw_legend(
    categories: Sequence[Category], rows: Sequence[ComparisonRow], width: int
) -> tuple[NDArray[np.uint8], list[_Text]]:
    """Draw the classes' colours and the heat map's scale; the caller draws the texts."""
    labels = [
        label
        for row in rows
        for found in (row.target, row.prediction.panoptic, best_instances(row.prediction.instances, 1, 1))
        for label in found.labels.tolist()
    ]
    shown, left_out = shown_in_legend(categories, labels)
    marks = [(category.name, color_mark(category.color, _TEXT)) for category in shown]
    marks += others_mark(left_out)
    scale = (matplotlib.colormaps[COLOR_MAP](np.linspace(0, 1, 8 * _TEXT))[:, :3] * 255).astype(np.uint8)
    marks.append(("semantic score, 0 to 1", np.repeat(scale[None], _TEXT, axis=0)))
    return draw_legend(marks, width=width, size=_TEXT, paper=_PAPER, ink=_INK)


def _draw_cells(row: ComparisonRow, categories: Sequence[Category]) -> list[NDArray[np.uint8]]:
    """Draw the cells of a row, all of one size."""
    scale = _CELL / max(row.image.shape)
    height, width = (max(1, round(side * scale)) for side in row.image.shape)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(row.image, (width, height), interpolation=interpolation), dtype=np.float32)
    prediction = row.prediction
    return [
        to_grey_picture(image),
        draw_overlay(image, resize_segments(row.target, height, width), categories),
        draw_overlay(image, resize_segments(prediction.panoptic, height, width), categories),
        draw_instances(image, best_instances(prediction.instances, height, width), categories),
        _draw_heat(image, prediction.semantic),
    ]


def resize_segments(segmentation: PanopticSegmentation, height: int, width: int) -> PanopticSegmentation:
    """Resize segments for a picture."""
    ids = _resize_nearest(segmentation.segment_ids, height, width)
    return PanopticSegmentation(ids, segmentation.labels, segmentation.scores)


def best_instances(instances: InstanceSegmentation, height: int, width: int) -> InstanceSegmentation:
    """Take the few instances that a picture shows, from the highest score down, and resize them."""
    order = instances.scores.argsort(descending=True)[:MOST_INSTANCES]
    order = order[instances.scores[order] >= LEAST_INSTANCE_SCORE]
    small = [_resize_nearest(mask, height, width) for mask in instances.packed[order]]
    masks = torch.stack(small) if small else order.new_zeros(0, height, width, dtype=torch.bool)
    return InstanceSegmentation(masks, instances.labels[order], instances.scores[order])


def _resize_nearest(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize (..., H, W), none or more, so that pixel centres stay in place as they do in the image."""
    rows, columns = (
        ((torch.arange(new, device=maps.device) + 0.5) * old / new).long()
        for new, old in zip((height, width), maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def _draw_heat(image: NDArray[np.float32], semantic: torch.Tensor) -> NDArray[np.uint8]:
    """Blend the largest class value of each pixel, cut at 1, over the image."""
    height, width = image.shape
    values = semantic.max(0).values.float().cpu().clamp(0, 1).numpy()
    interpolation = cv2.INTER_AREA if values.shape[0] > height else cv2.INTER_LINEAR
    values = cv2.resize(values, (width, height), interpolation=interpolation)
    colors = matplotlib.colormaps[COLOR_MAP](values)[..., :3] * 255
    mixed = (1 - HEAT) * to_grey_picture(image) + HEAT * colors
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)
