"""Draws text on pictures, at a size that is readable whatever the size of the picture."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]


def hex_color(color: Color) -> str:
    """Write a colour (RGB, 0-255) as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


@cache
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which ships with matplotlib, at a size in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """Give the (width, height) in pixels that a line takes."""
    left, _, right, _ = load_font(size, bold).getbbox(text)
    return int(right - left), int(size * 1.25)


def shorten_text(text: str, size: int, width: int) -> str:
    """Cut a line's end off, with an ellipsis for it, where it is wider than ``width`` pixels."""
    if text_size(text, size)[0] <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        shorter = text[:length].rstrip() + "…"
        if text_size(shorter, size)[0] <= width:
            return shorter
    return ""


def draw_texts(
    picture: NDArray[np.uint8], texts: list[tuple[tuple[int, int], str, Color]], size: int, bold: bool = False
) -> NDArray[np.uint8]:
    """Draw lines of text.

    Args:
        picture: (H, W, 3) RGB.
        texts: For each line its left top corner (x, y), the text and its colour.
        size: In pixels.
        bold: Weight.

    Returns:
        A copy with the text.
    """
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for position, text, color in texts:
        draw.text(position, text, font=load_font(size, bold), fill=color)
    return np.asarray(canvas)
