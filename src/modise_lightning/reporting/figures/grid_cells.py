"""Pictures of a qualitative grid: an image, its truth, and each part of its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.comparison import (
    COLOR_MAP,
    HEAT,
    ComparisonRow,
    best_instances,
    resize_segments,
)
from modise_lightning.reporting.pictures.overlay import draw_instances, draw_overlay, to_grey_picture
from modise_lightning.reporting.pictures.text import Color
from modise_lightning.structures import Category, PanopticSegmentation

# Pixels of a picture's longer side; chosen: 500 an inch across five columns of a page.
_LONGER_SIDE = 720
_SMOOTHING = 2.5  # pixels: a mask has stairs for slopes


@dataclass(frozen=True)
class Score:
    """A score to write above its segment.

    Attributes:
        x: Middle of the segment's largest part in pixels.
        y: Its top.
        text: What to write.
        color: RGB of the class.
    """

    x: float
    y: float
    text: str
    color: Color


@dataclass(frozen=True)
class Cell:
    """One picture.

    Attributes:
        picture: (H, W, 3) RGB.
        outlines: Lines to draw over it, which stay sharp in print: where a segment is, (H, W) in [0, 1] with
            its border at 0.5, and its RGB colour.
        scores: Of the segments, from the highest down.
    """

    picture: NDArray[np.uint8]
    outlines: list[tuple[NDArray[np.float32], Color]] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)


def resized_image(row: ComparisonRow) -> NDArray[np.float32]:
    """Give the image at the size of a picture."""
    scale = _LONGER_SIDE / max(row.image.shape)
    height, width = (max(1, round(side * scale)) for side in row.image.shape)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(row.image, (width, height), interpolation=interpolation)
    return np.asarray(resized, dtype=np.float32).clip(0, 1)


def image_cell(row: ComparisonRow) -> Cell:
    """Show the image alone."""
    return Cell(to_grey_picture(resized_image(row)))


def segments_cell(row: ComparisonRow, segments: PanopticSegmentation, categories: Sequence[Category]) -> Cell:
    """Show segments, of the truth or of the panoptic result, in the colours of their classes."""
    image = resized_image(row)
    resized = resize_segments(segments, *image.shape)
    picture = draw_overlay(image, resized, categories, show_labels=False)
    return Cell(picture, _outlines(resized.masks, resized.labels, categories))


def instances_cell(row: ComparisonRow, categories: Sequence[Category]) -> Cell:
    """Show the best instances with their scores."""
    image = resized_image(row)
    instances = best_instances(row.prediction.instances, *image.shape)
    scores = []
    for mask, label, score in zip(
        instances.masks.cpu().numpy(), instances.labels.tolist(), instances.scores.tolist(), strict=True
    ):
        if mask.any():
            x, y = _top_middle(mask)
            scores.append(Score(x, y, f"{score:.2f}", categories[label].color))
    picture = draw_instances(image, instances, categories, show_labels=False)
    # From the lowest score up, as they are drawn.
    return Cell(picture, _outlines(instances.masks, instances.labels, categories)[::-1], scores)


def heat_cell(row: ComparisonRow) -> Cell:
    """Show the semantic result: each pixel's largest class value, cut at 1, over the image."""
    image = resized_image(row)
    values = row.prediction.semantic.max(0).values.float().cpu().clamp(0, 1).numpy()
    interpolation = cv2.INTER_AREA if values.shape[0] > image.shape[0] else cv2.INTER_LINEAR
    values = cv2.resize(values, image.shape[::-1], interpolation=interpolation)
    colors = matplotlib.colormaps[COLOR_MAP](values)[..., :3] * 255
    mixed = (1 - HEAT) * to_grey_picture(image) + HEAT * colors
    return Cell(np.asarray(mixed.round().clip(0, 255), dtype=np.uint8))


def _top_middle(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Find where the largest part of a mask begins."""
    _, _, parts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = parts[1 + int(parts[1:, cv2.CC_STAT_AREA].argmax())]
    x, y, width = (int(largest[index]) for index in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH))
    return x + width / 2, float(y)


def _outlines(
    masks: torch.Tensor, labels: torch.Tensor, categories: Sequence[Category]
) -> list[tuple[NDArray[np.float32], Color]]:
    smooth = [cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SMOOTHING) for mask in masks.cpu().numpy()]
    colors = [categories[label].color for label in labels.tolist()]
    return [(np.asarray(mask, dtype=np.float32), color) for mask, color in zip(smooth, colors, strict=True)]
