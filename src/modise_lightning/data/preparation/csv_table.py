"""Reads a CSV table row by row, so that a broken row is named and the others are read."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular


@dataclass(frozen=True)
class CsvRow:
    """One row of a table.

    Attributes:
        number: Line of the file that it ends on, counted from 1, the header included.
        cells: Its values by column, without spaces at their ends.
    """

    number: int
    cells: dict[str, str]


def read_csv_table(
    path: Path, columns: Sequence[str], delimiter: str = ","
) -> tuple[list[CsvRow], list[str]]:
    """Read a table with a header.

    Args:
        path: The CSV file.
        columns: Columns that it must have, in any order; the first of equal names counts.
        delimiter: What stands between cells.

    Returns:
        Its rows that are not empty, and a sentence for each row that has too few or too many cells.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    try:
        with check_regular(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [title.strip() for title in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                raise UserError(
                    f"{path}: no column '{missing[0]}'; found {', '.join(header)[:200] or 'nothing'}. "
                    "Get the file anew."
                )
            rows: list[CsvRow] = []
            problems: list[str] = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) == len(header):
                    # In reverse, so that the first of equal names stays.
                    pairs = zip(reversed(header), reversed(cells), strict=True)
                    rows.append(CsvRow(reader.line_num, {title: cell.strip() for title, cell in pairs}))
                else:
                    problems.append(
                        f"{path.name}, row {reader.line_num}: {len(cells)} cells instead of {len(header)}; "
                        "left out."
                    )
            return rows, problems
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}). Get the file anew.") from error
