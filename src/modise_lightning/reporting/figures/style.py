"""The look of all figures: colours that colour-blind readers tell apart, lines that differ without colour."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib

# Okabe and Ito's palette (2008), the darkest first; yellow is too faint for lines on white.
_LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_GLYPHS = "●■▲◆▼✚✖★"  # of the markers

INK = "#1a1a1a"
FAINT = "#5f5f5f"
GRID = "#e3e3e3"
ACCENT = "#0072B2"
WARNING = "#A63D00"  # darker than the palette's vermilion, so that small letters have contrast

# Letter sizes in points at the printed size; journals ask for 6 to 8.
TEXT = 7.5
SMALL = 6.5
TITLE = 9.0

_PARAMETERS: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that a figure is the same on every machine
    "font.size": TEXT,
    "axes.titlesize": TEXT + 0.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.visible": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.7,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "text.color": INK,
    "text.parse_math": False,  # names come from files; a $ in one is no formula
    "pdf.fonttype": 42,  # letters stay letters that an editor can change
    "svg.fonttype": "none",
    "svg.hashsalt": "modise_lightning",  # equal figures give equal bytes
}


def figure_style() -> AbstractContextManager[None]:
    """Give the context in which figures are made and written."""
    return matplotlib.rc_context(_PARAMETERS)


def line_style(index: int) -> dict[str, Any]:
    """Give the colour, dashes and marker of a line, as matplotlib's arguments.

    Args:
        index: Of the model, from 0; any two of 280 differ.
    """
    return {
        "color": _LINE_COLORS[index % len(_LINE_COLORS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markerfacecolor": "white",
    }


def marker_glyph(index: int) -> str:
    """Give the letter that looks like a line's marker.

    Args:
        index: Of the model, from 0.
    """
    return _GLYPHS[index % len(_GLYPHS)]
