"""Writes figures as vector and pixel files, with the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.csv_cells import guard_cell, guard_cells
from modise_lightning.reporting.figures.style import figure_style

FigureFormat = Literal["pdf", "svg", "png"]

_DOTS_PER_INCH = 300
# Without the date, equal figures are equal files.
_METADATA: dict[FigureFormat, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}


def render_figure(figure: Figure, file_format: FigureFormat, *, letters_as_outlines: bool = False) -> bytes:
    """Give a figure as the bytes of a file; equal figures give equal bytes.

    Args:
        figure: Of this package.
        file_format: Vector (``pdf``, ``svg``: letters stay text) or pixels (``png``).
        letters_as_outlines: Whether the letters of SVG are shapes, which look the same with any fonts.
    """
    data = BytesIO()
    letters: Any = {"svg.fonttype": "path"} if letters_as_outlines else {}
    with figure_style(), matplotlib.rc_context(letters):
        figure.savefig(data, format=file_format, dpi=_DOTS_PER_INCH, metadata=_METADATA[file_format])
    return data.getvalue()


def write_figure(
    folder: Path, name: str, figure: Figure, data: pd.DataFrame | None, formats: Sequence[FigureFormat]
) -> list[Path]:
    """Write ``NAME.pdf``, ... and ``NAME.csv`` with the numbers.

    Args:
        folder: Made if it is missing.
        name: Without ending.
        figure: What is drawn.
        data: What it is drawn from; None for none.
        formats: Endings.

    Returns:
        The files.
    """
    contents: dict[str, bytes] = {ending: render_figure(figure, ending) for ending in formats}
    if data is not None:
        guarded = data.map(lambda cell: guard_cell(cell) if isinstance(cell, str) else cell)
        guarded.columns = guard_cells(data.columns)
        text = guarded.to_csv(index=False, lineterminator="\n")
        contents["csv"] = text.encode("utf-8", "backslashreplace")
    written = []
    for ending, content in contents.items():
        path = folder / f"{name}.{ending}"
        write_bytes_atomically(path, content)
        written.append(path)
    return written
