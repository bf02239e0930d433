"""Writes labels beside the segments of a picture, where they hide as little as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.text import draw_texts, shorten_text, text_size

_INK = (250, 250, 250)
_SHADE = 0.3  # share of the picture that is seen through a label
# What a place costs, beside its distance to the segment in pixels.
_OFF_CENTRE = 0.25  # a pixel that it is off the segment's middle
_BELOW = 0.5  # label heights, for a place that is not above the segment


@dataclass(frozen=True)
class Label:
    """What is written beside a segment.

    Attributes:
        text: One line.
        color: RGB of the mark before the text.
        box: (x, y, width, height) of the segment in pixels.
    """

    text: str
    color: tuple[int, int, int]
    box: tuple[int, int, int, int]


def draw_labels(
    picture: NDArray[np.uint8], labels: Sequence[Label], occupied: NDArray[np.bool_], size: int
) -> NDArray[np.uint8]:
    """Draw labels inside the picture, each near its segment and, where there is room, on free pixels.

    A label that is wider than the picture is shortened; one that is taller is left out. A line leads from a
    label that found no place near its segment to the segment.

    Args:
        picture: (H, W, 3) RGB.
        labels: The first one has the first choice.
        occupied: (H, W), pixels to keep free.
        size: Of the text in pixels.

    Returns:
        (H, W, 3) RGB, a copy.
    """
    height, width = picture.shape[:2]
    picture = picture.copy()
    occupied = occupied.copy()
    padding = max(2, size // 3)
    mark = max(2, size // 4)
    label_height = text_size("", size)[1] + 2 * (padding // 2)
    texts = []
    for label in labels:
        text = shorten_text(label.text, size, width - mark - 2 * padding)
        if not text or label_height > height:
            continue
        label_width = mark + text_size(text, size)[0] + 2 * padding
        left, top = _find_place(occupied, label.box, label_width, label_height)
        _draw_leader(picture, label, (left, top, label_width, label_height), max(1, size // 10))
        area = (slice(top, top + label_height), slice(left, left + label_width))
        picture[area] = (picture[area] * _SHADE).astype(np.uint8)
        picture[area][:, :mark] = label.color
        occupied[area] = True
        texts.append(((left + mark + padding, top + padding // 2), text, _INK))
    return draw_texts(picture, texts, size)


def _find_place(
    occupied: NDArray[np.bool_], box: tuple[int, int, int, int], label_width: int, label_height: int
) -> tuple[int, int]:
    """Give the left top corner of the cheapest place: little covered first, then near and above."""
    height, width = occupied.shape
    x, y, box_width, box_height = box
    gap = max(2, label_height // 4)
    stride = max(1, label_height // 8)
    # The places right above and below the segment, and in line with its middle, are on the grid.
    tops = _grid(height - label_height, stride, [y - gap - label_height, y + box_height + gap])
    lefts = _grid(width - label_width, stride, [x + (box_width - label_width) // 2])
    sums = cv2.integral(occupied.astype(np.uint8))
    bottoms, rights = tops + label_height, lefts + label_width
    covered = (
        sums[np.ix_(bottoms, rights)]
        - sums[np.ix_(tops, rights)]
        - sums[np.ix_(bottoms, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    across = np.maximum(np.maximum(x - gap - rights, lefts - (x + box_width + gap)), 0)
    down = np.maximum(np.maximum(y - gap - bottoms, tops - (y + box_height + gap)), 0)
    off_centre = np.abs(lefts + label_width / 2 - (x + box_width / 2))
    cost = np.hypot(across[None], down[:, None]) + _OFF_CENTRE * off_centre[None]
    cost += _BELOW * label_height * (bottoms > y)[:, None]
    # Whatever is covered is dearer than any distance.
    cost += 2 * (height + width) * covered / (label_width * label_height) + (height + width) * (covered > 0)
    row, column = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(lefts[column]), int(tops[row])


def _grid(last: int, stride: int, wanted: Sequence[int]) -> NDArray[np.int64]:
    return np.unique([*range(0, last + 1, stride), *np.clip(wanted, 0, last)]).astype(np.int64)


def _draw_leader(
    picture: NDArray[np.uint8], label: Label, place: tuple[int, int, int, int], thickness: int
) -> None:
    x, y, width, height = label.box
    left, top, label_width, label_height = place
    start = (left + label_width // 2, top + label_height // 2)
    end = (int(np.clip(start[0], x, x + width - 1)), int(np.clip(start[1], y, y + height - 1)))
    far = max(left - end[0], end[0] - left - label_width, top - end[1], end[1] - top - label_height)
    if far > label_height:
        cv2.line(picture, start, end, label.color, thickness, cv2.LINE_AA)
