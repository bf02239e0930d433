"""Draws the legend of a sheet of pictures: marks with names, in as many lines as they need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.text import Color, shorten_text, text_size

_LEAST_WIDTH = 1000  # pixels that a line may take, however narrow the sheet
_MARK_GAP = 6  # pixels between a mark and its name
_GAP = 30  # pixels after a name
_LONGEST_NAME = 400  # pixels

Text = tuple[tuple[int, int], str, Color]


def draw_legend(
    marks: Sequence[tuple[str, NDArray[np.uint8]]],
    *,
    width: int,
    size: int,
    paper: int,
    ink: Color,
) -> tuple[NDArray[np.uint8], list[Text]]:
    """Draw the marks and place the names; the caller draws the names.

    Args:
        marks: Names, each with its (h, w, 3) mark; h is at most ``size``, w may be 0.
        width: Of the sheet in pixels; a line breaks where it would be wider than that and than a readable
            least width.
        size: Of the letters in pixels.
        paper: Grey behind the marks.
        ink: Colour of the names.

    Returns:
        The (H, W, 3) RGB strip, and the names with their places in it.
    """
    line = int(size * 1.6)
    width = max(width, _LEAST_WIDTH)
    placed: list[tuple[int, int, str, NDArray[np.uint8]]] = []
    left, top, widest = 0, 0, 0
    for name, mark in marks:
        short = shorten_text(name, size, _LONGEST_NAME)
        own = mark.shape[1] + _MARK_GAP + text_size(short, size)[0] + _GAP
        if left and left + own > width:
            left, top = 0, top + line
        placed.append((left, top, short, mark))
        left += own
        widest = max(widest, left)
    strip = np.full((top + line, widest, 3), paper, dtype=np.uint8)
    texts: list[Text] = []
    for left, top, name, mark in placed:
        strip[top + 3 : top + 3 + mark.shape[0], left : left + mark.shape[1]] = mark
        texts.append(((left + mark.shape[1] + _MARK_GAP, top + 1), name, ink))
    return strip, texts


def color_mark(color: Color, size: int) -> NDArray[np.uint8]:
    """Make the square mark of a class."""
    return np.full((size, size, 3), color, dtype=np.uint8)


def others_mark(number: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Make the entry for classes that a legend has no room for; none for none."""
    return [(f"and {number} other classes", np.zeros((0, 0, 3), dtype=np.uint8))] if number else []
