"""Reads a sheet of an XLSX or XLS workbook as text, with limits: a small file can hold billions of cells."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl

from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

# The sheet of CDD-CESM has 12 columns and 2,007 rows, and its workbook inflates to 1.9 MB.
MAXIMUM_BYTES = 16 * 2**20
MAXIMUM_COLUMNS = 256
MAXIMUM_ROWS = 50_000


def read_workbook(path: Path, preferred_sheet: str) -> tuple[list[str], list[dict[str, str]]]:
    """Read one sheet.

    Args:
        path: The XLSX file.
        preferred_sheet: Name of the sheet; if there is none of it, the first one is read.

    Returns:
        The titles in its first row, and each row below by title: numbers without needless decimals, and empty
        text for empty cells. The first of equal titles counts.

    Raises:
        UserError: It is larger than any real one; says what.
        Exception: It is damaged; zipfile, zlib and openpyxl raise almost anything.
    """
    with zipfile.ZipFile(check_regular(path)) as archive:
        # No member gives more than it declares: zipfile stops there.
        inflated = sum(member.file_size for member in archive.infolist())
    if inflated > MAXIMUM_BYTES:
        raise UserError(f"{path}: it inflates to {inflated} bytes, more than {MAXIMUM_BYTES}.")
    workbook = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        name = preferred_sheet if preferred_sheet in workbook.sheetnames else workbook.sheetnames[0]
        sheet = workbook[name]
        rows: list[list[str]] = []
        # What a sheet declares of its size need not be so, and each row would be filled up to it.
        sheet.reset_dimensions()
        for cells in sheet.iter_rows(values_only=True):
            if len(rows) == MAXIMUM_ROWS:
                raise UserError(f"{path}: its sheet '{name}' has more than {MAXIMUM_ROWS} rows.")
            if len(cells) > MAXIMUM_COLUMNS:
                raise UserError(f"{path}: its sheet '{name}' has more than {MAXIMUM_COLUMNS} columns.")
            rows.append([_text(cell) for cell in cells])
    finally:
        workbook.close()
    return _titled(rows)


def read_old_workbook(path: Path, preferred_sheet: str) -> tuple[list[str], list[dict[str, str]]]:
    """Read one sheet of an XLS file; see ``read_workbook``."""
    try:
        import xlrd  # only one dataset's table needs it
    except ImportError as error:
        raise UserError(
            f"{path}: reading it needs xlrd (pip install xlrd). Or save it as CSV with semicolons."
        ) from error
    if check_regular(path).stat().st_size > MAXIMUM_BYTES:
        raise UserError(f"{path}: it has more than {MAXIMUM_BYTES} bytes.")
    # What it says on the screen of damage belongs nowhere; it raises what matters.
    with xlrd.open_workbook(str(path), logfile=io.StringIO(), on_demand=True) as workbook:
        names = workbook.sheet_names()
        sheet = workbook.sheet_by_name(preferred_sheet if preferred_sheet in names else names[0])
        if sheet.nrows > MAXIMUM_ROWS or sheet.ncols > MAXIMUM_COLUMNS:
            raise UserError(
                f"{path}: its sheet has {sheet.nrows} rows of {sheet.ncols} columns, more than "
                f"{MAXIMUM_ROWS} or {MAXIMUM_COLUMNS}."
            )
        rows = [[_text(value) for value in sheet.row_values(row)] for row in range(sheet.nrows)]
    return _titled(rows)


def _titled(rows: list[list[str]]) -> tuple[list[str], list[dict[str, str]]]:
    """Take the first row for titles."""
    titles = rows[0] if rows else []
    while titles and not titles[-1]:
        titles.pop()
    return titles, [_by_title(titles, row) for row in rows[1:]]


def _by_title(titles: list[str], row: list[str]) -> dict[str, str]:
    filled = [*row, *[""] * len(titles)][: len(titles)]
    # In reverse, so that the first of equal titles stays.
    return dict(zip(reversed(titles), reversed(filled), strict=True))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
