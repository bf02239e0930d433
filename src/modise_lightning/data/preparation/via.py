"""Reads the regions of a VGG Image Annotator (VIA 2) CSV export."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modise_lightning.data.preparation.via_shapes import Shape, parse_shape
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

if TYPE_CHECKING:
    import _csv

_FILE_NAME_COLUMNS = ("#filename", "filename")
_SHAPE_COLUMN = "region_shape_attributes"


@dataclass(frozen=True)
class ViaRegion:
    """One annotated region.

    Attributes:
        row: Line of the CSV file that it ends on, counted from 1, the header included.
        file_name: Name of the image file, as it stands there.
        shape: Its outline.
    """

    row: int
    file_name: str
    shape: Shape


def read_via_regions(path: Path) -> tuple[list[ViaRegion], list[str]]:
    """Read all regions of an export; rows of images without a region (an empty shape) are passed over.

    Args:
        path: The CSV file.

    Returns:
        The regions in the order of the file, and a sentence for each row that cannot be read.

    Raises:
        UserError: The file cannot be read, or is no VIA export.
    """
    try:
        with check_regular(path).open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(csv.reader(file), path.name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}). Get the file anew.") from error


def _read_rows(rows: _csv.Reader, name: str) -> tuple[list[ViaRegion], list[str]]:
    header = [title.strip() for title in next(rows, [])]
    file_column = next((header.index(title) for title in _FILE_NAME_COLUMNS if title in header), None)
    if file_column is None or _SHAPE_COLUMN not in header:
        raise UserError(
            f"{name}: no VIA export: expected the columns {_FILE_NAME_COLUMNS[0]} and {_SHAPE_COLUMN}, "
            f"found {', '.join(header)[:200] or 'nothing'}."
        )
    shape_column = header.index(_SHAPE_COLUMN)
    regions: list[ViaRegion] = []
    problems: list[str] = []
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        row = rows.line_num
        if len(cells) <= max(file_column, shape_column):
            problems.append(f"{name}, row {row}: {len(cells)} columns instead of {len(header)}; left out.")
            continue
        try:
            attributes = json.loads(cells[shape_column])
            if not isinstance(attributes, dict):
                raise ValueError("no JSON object")
            if attributes:
                regions.append(ViaRegion(row, cells[file_column], parse_shape(attributes)))
        except (ValueError, RecursionError) as error:
            problems.append(
                f"{name}, row {row} ({cells[file_column].strip()}): "
                f"{_SHAPE_COLUMN} is wrong ({error}); left out."
            )
    return regions, problems
