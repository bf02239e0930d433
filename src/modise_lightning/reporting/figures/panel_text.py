"""Numbers written into a panel beside its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, TextArea, VPacker

from modise_lightning.reporting.figures.style import FAINT, SMALL, line_style, marker_glyph

# Size of the text as a part of a panel's sides, to see which corner it hides least in.
_WIDTH = 0.36
_LINE_HEIGHT = 0.075


def write_areas(axis: Axes, name: str, areas: Sequence[tuple[float, float]], corners: Sequence[str]) -> None:
    """Write each model's number in its colour and behind its marker, in the order of the legend.

    Args:
        axis: The panel, with its lines.
        name: Of the number.
        areas: Mean and deviation of each model, as fractions; the deviation may be NaN, and both.
        corners: As for a legend; the one that hides least is taken, the first one of equals.
    """
    lines: list[Artist] = [_line(f"{name} (%)", FAINT)]
    for index, (mean, deviation) in enumerate(areas):
        text = "undefined" if math.isnan(mean) else f"{100 * mean:.1f}"
        if not math.isnan(deviation):
            text += f" ± {100 * deviation:.1f}"
        lines.append(_line(f"{marker_glyph(index)} {text}", line_style(index)["color"]))
    hidden = {corner: _count_points(axis, corner, len(lines)) for corner in corners}
    box = AnchoredOffsetbox(
        loc=min(corners, key=hidden.__getitem__),
        child=VPacker(children=lines, pad=0, sep=1.2, align="left"),
        pad=0.35,
        borderpad=0.3,
    )
    box.patch.set(facecolor="white", alpha=0.8, edgecolor="none", linewidth=0)
    box.set_zorder(5)
    box.set_in_layout(False)
    axis.add_artist(box)


def _line(text: str, color: str) -> TextArea:
    return TextArea(text, textprops={"fontsize": SMALL - 0.5, "color": color})


def _count_points(axis: Axes, corner: str, num_lines: int) -> int:
    """Count the points of all lines in a corner."""
    to_panel = axis.transData + axis.transAxes.inverted()
    points = np.concatenate([to_panel.transform(np.column_stack(line.get_data())) for line in axis.lines])
    x = points[:, 0] if "left" in corner else 1 - points[:, 0]
    y = points[:, 1] if "lower" in corner else 1 - points[:, 1]
    return int(((x < _WIDTH) & (y < _LINE_HEIGHT * num_lines)).sum())
