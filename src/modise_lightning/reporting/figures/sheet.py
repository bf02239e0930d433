"""The sheet of a figure: panels in a grid, with title, legend and notes around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from modise_lightning.reporting.figures.caption import Caption
from modise_lightning.reporting.figures.style import FAINT, SMALL, TEXT, TITLE, WARNING, line_style

FULL_WIDTH = 7.2  # inches, across both columns of a page
_MARGIN = 0.08  # inches
_LINE_HEIGHT = 1.45  # of the letter size
_DIGITS = 5  # of a position as a part of the sheet: far below a printer's dot
_LEAST_TITLE = 5.5  # points
_HINTING = 1.04  # letters on the screen are up to so much wider than their outlines
_BAND = 0.13  # opacity
_SYNTHETIC = "SYNTHETIC IMAGES, NOT PATIENTS"


def make_sheet(
    rows: int,
    columns: int,
    *,
    width: float,
    panel_height: float,
    room_below: float = 0.0,
    caption: Caption,
    legend: Sequence[Line2D],
    **subplots: Any,  # noqa: ANN401 (matplotlib's own arguments)
) -> tuple[Figure, NDArray[Any]]:
    """Make the panels and write what stands around them.

    Args:
        rows: Of panels.
        columns: Of panels.
        width: Of the sheet in inches; more if the words need it.
        panel_height: Of a row of panels with its labels, in inches.
        room_below: For what stands under the last row only, in inches.
        caption: Words.
        legend: Lines with labels.
        subplots: For ``Figure.subplots``.

    Returns:
        The figure, and the (rows, columns) axes.
    """
    title = caption.title
    heading = _text_width(title, TITLE, bold=True) + (
        _text_width(_SYNTHETIC, SMALL, bold=True) + 0.5 if caption.synthetic else 0
    )
    width = max(width, heading + 2 * _MARGIN, _widest(legend) + 2 * _MARGIN)
    notes = _wrap(" ".join(caption.notes), width - 2 * _MARGIN)
    warning = _wrap(caption.warning, width - 2 * _MARGIN)
    legend_columns, legend_rows = _legend_shape(legend, width)
    top = _inches(TITLE, 1) + 2 * _MARGIN
    notes_height = _inches(SMALL, len(notes) + len(warning)) + _MARGIN
    bottom = notes_height + _inches(TEXT, legend_rows) + (0.06 if legend else 0)
    height = top + rows * panel_height + room_below + bottom
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine(
        ConstrainedLayoutEngine(
            rect=(0, bottom / height, 1, 1 - (top + bottom) / height), w_pad=_MARGIN, h_pad=0.04
        )
    )
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    left = _MARGIN / width
    middle = 1 - (top / 2) / height
    figure.text(left, middle, title, fontsize=TITLE, fontweight="bold", va="center")
    if caption.synthetic:
        figure.text(
            1 - left - 0.04 / width,
            middle,
            _SYNTHETIC,
            fontsize=SMALL,
            fontweight="bold",
            color=WARNING,
            ha="right",
            va="center",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": WARNING, "linewidth": 0.8},
        )
    below = (notes_height - _inches(SMALL, len(notes))) / height
    for y, lines, color in ((notes_height / height, notes, FAINT), (below, warning, WARNING)):
        figure.text(
            left,
            y,
            "\n".join(lines),
            fontsize=SMALL,
            color=color,
            va="top",
            linespacing=_LINE_HEIGHT / 1.2,
        )
    if legend:
        figure.legend(
            handles=list(legend),
            loc="lower center",
            bbox_to_anchor=(0.5, notes_height / height),
            ncols=legend_columns,
            borderaxespad=0.1,
        )
    return figure, axes


def model_legend(labels: Sequence[str]) -> list[Line2D]:
    """Make the legend of one line a model, in the order of ``line_style``."""
    return [Line2D([], [], label=label, **line_style(index)) for index, label in enumerate(labels)]


def draw_band(
    axis: Axes,
    x: NDArray[np.float64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    *,
    highest: float,
    color: str,
) -> None:
    """Shade one deviation on both sides of a mean, within [0, highest]; none where there is no deviation."""
    low, high = np.clip(mean - deviation, 0, highest), np.clip(mean + deviation, 0, highest)
    axis.fill_between(x, low, high, color=color, alpha=_BAND, linewidth=0)


def letter_panels(axes: NDArray[Any]) -> None:
    """Put a, b, c, ... before the titles of the panels that are seen; nothing before a single one."""
    seen: list[Axes] = [axis for axis in axes.flat if axis.get_visible()]
    if len(seen) == 1:
        return
    for index, axis in enumerate(seen):
        axis.set_title(f"{chr(ord('a') + index)}   {axis.get_title('left')}")


def fit_titles(figure: Figure, axes: NDArray[Any]) -> None:
    """Make the titles of all panels small enough to stand beside each other; the longest may be cut.

    Args:
        figure: The sheet, with its layout settled.
        axes: (rows, columns) panels.
    """
    lefts = [axis.get_position().x0 for axis in axes[0]]
    # A title may reach over its panel, up to the next one or the sheet's border.
    reach = min(right - left for left, right in pairwise([*lefts, 1.0]))
    room = 0.96 * figure.get_figwidth() * reach - _MARGIN
    titles = [title for axis in axes.flat for title in (axis.title, axis._left_title) if title.get_text()]
    sizes = [
        title.get_fontsize() * room / _text_width(title.get_text(), title.get_fontsize(), bold=True)
        for title in titles
    ]
    for title in titles:
        title.set_fontsize(max(_LEAST_TITLE, min(title.get_fontsize(), *sizes)))
        text = title.get_text()
        while _text_width(title.get_text(), title.get_fontsize(), bold=True) > room and text:
            text = text[:-1]
            title.set_text(f"{text}…")


def settle_layout(figure: Figure) -> None:
    """Place the panels once and for all.

    The layout's solver gives positions whose last digits change from run to run; rounded they do not, and
    equal figures are equal files.

    Args:
        figure: With everything drawn.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        axis.set_position(Bbox(axis.get_position(original=True).get_points().round(_DIGITS)))


def _legend_shape(legend: Sequence[Line2D], width: float) -> tuple[int, int]:
    if not legend:
        return 1, 0
    columns = max(1, min(len(legend), int((width - 2 * _MARGIN) / _widest(legend))))
    rows = math.ceil(len(legend) / columns)
    # As few columns as that many rows need, so that the rows are even.
    return math.ceil(len(legend) / rows), rows


def _widest(legend: Sequence[Line2D]) -> float:
    return max((_text_width(str(line.get_label()), TEXT) + 0.65 for line in legend), default=0.0)


def _inches(size: float, lines: int) -> float:
    return lines * size * _LINE_HEIGHT / 72


def _text_width(text: str, size: float, bold: bool = False) -> float:
    if not text.strip():
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    path = TextPath((0, 0), text, size=size, prop=font)
    return _HINTING * float(np.ptp(np.asarray(path.vertices)[:, 0])) / 72


def _wrap(note: str, width: float) -> list[str]:
    """Break a text into lines of at most a width in inches; a longer word stands alone."""
    lines: list[str] = []
    left = 0.0
    for word in note.split():
        needed = _text_width(f"{word}n", SMALL)  # an n is wider than a space
        if lines and needed <= left:
            lines[-1] += f" {word}"
            left -= needed
        else:
            lines.append(word)
            left = width - needed
    return lines
