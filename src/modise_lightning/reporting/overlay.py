"""Draws segments over an image: a translucent fill, a crisp outline, and a label beside each."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.reporting.text import draw_texts, text_size
from modise_lightning.structures import Category, PanopticSegmentation

_VOID_COLOR = (128, 128, 128)
_FILL = 0.22  # share of the colour in the fill: the tissue below stays readable


def to_grey_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn (H, W) values in [0, 1] into an (H, W, 3) grey picture."""
    grey = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def draw_overlay(
    image: NDArray[np.float32],
    segmentation: PanopticSegmentation,
    categories: Sequence[Category],
    *,
    show_labels: bool = True,
) -> NDArray[np.uint8]:
    """Draw the segments of an image.

    Args:
        image: (H, W) in [0, 1]; resized to the segmentation's size if it differs.
        segmentation: Segments at (h, w).
        categories: Names and colours of the classes.
        show_labels: Whether class names, and scores if there are any, stand beside the segments.

    Returns:
        (h, w, 3) RGB.
    """
    ids = segmentation.segment_ids.cpu().numpy()
    height, width = ids.shape
    if image.shape != ids.shape:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    picture = to_grey_picture(image)
    thickness = max(1, round(max(height, width) / 400))
    labels: list[tuple[NDArray[np.uint8], str, tuple[int, int, int]]] = []
    order = np.argsort([-int((ids == index + 1).sum()) for index in range(len(segmentation.labels))])
    regions = [(-1, _VOID_COLOR, "")] if (ids == -1).any() else []
    for index in order:
        category = categories[int(segmentation.labels[index])]
        score = "" if segmentation.scores is None else f" {float(segmentation.scores[index]):.2f}"
        regions.append((int(index) + 1, category.color, f"{category.name}{score}"))
    for segment_id, color, label in regions:
        mask = (ids == segment_id).astype(np.uint8)
        inside = mask.astype(bool)
        picture[inside] = ((1 - _FILL) * picture[inside] + _FILL * np.asarray(color)).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        picture = cv2.drawContours(picture, outlines, -1, color, thickness, cv2.LINE_AA).astype(np.uint8)
        if label and len(outlines):
            labels.append((mask, label, color))
    return _draw_labels(picture, labels) if show_labels else picture


def _draw_labels(
    picture: NDArray[np.uint8], labels: Sequence[tuple[NDArray[np.uint8], str, tuple[int, int, int]]]
) -> NDArray[np.uint8]:
    """Write each label next to its segment: above, else below, else where it fits inside the picture."""
    height, width = picture.shape[:2]
    size = max(9, round(max(height, width) / 45))
    taken = np.zeros((height, width), dtype=bool)
    for mask, _, _ in labels:
        taken |= mask.astype(bool)
    texts = []
    picture = picture.copy()
    for mask, label, color in labels:
        label_width, label_height = (side + 2 for side in text_size(label, size))
        x, y, box_width, box_height = cv2.boundingRect(mask)
        left = int(np.clip(x + (box_width - label_width) // 2, 0, max(0, width - label_width)))
        gap = max(2, size // 4)
        candidates = [y - label_height - gap, y + box_height + gap]
        candidates += list(range(0, height - label_height, label_height))
        tops = [top for top in candidates if 0 <= top <= height - label_height] or [0]
        # The free place that is nearest; with none free, the least covered.
        covered = [taken[top : top + label_height, left : left + label_width].mean() for top in tops]
        top = tops[int(np.argmin(covered))]
        box = picture[top : top + label_height, left : left + label_width]
        box[:] = (box * 0.35).astype(np.uint8)
        taken[top : top + label_height, left : left + label_width] = True
        texts.append(((left + 1, top), label, color))
    return draw_texts(picture, texts, size)
