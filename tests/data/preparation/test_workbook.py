"""Sheets of workbooks against what pandas reads; sheets that would take minutes are refused by name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from modise_lightning.data.preparation import workbook
from modise_lightning.data.preparation.workbook import read_workbook
from modise_lightning.errors import UserError

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "cdd_cesm" / "Radiology manual annotations.xlsx"


def read_with_pandas(path: Path, sheet: str | int) -> tuple[list[str], list[list[str]]]:
    table = pd.read_excel(path, sheet_name=sheet, dtype=str, keep_default_na=False)
    return list(table.columns), [row for row in table.to_numpy().tolist() if any(row)]


def read(path: Path, sheet: str) -> tuple[list[str], list[list[str]]]:
    titles, rows = read_workbook(path, sheet)
    return titles, [list(row.values())[::-1] for row in rows if any(row.values())]


@pytest.mark.skipif(not REAL.is_file(), reason="needs the tables of CDD-CESM")
def test_the_real_workbook_is_read_as_pandas_does() -> None:
    for sheet in ("all", "calcifications"):
        assert read(REAL, sheet) == read_with_pandas(REAL, sheet)


def test_cells_of_all_kinds_are_read_as_pandas_does(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["not", "this"])  # type: ignore[union-attr]
    sheet = book.create_sheet("all")
    for row in (["a", "b", "c"], [1, 2.0, 2.5], [None, "x"], [], ["", True, " y "], ["=1+1", "n/a", 1e20]):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx", "all") == read_with_pandas(tmp_path / "a.xlsx", "all")
    assert read(tmp_path / "a.xlsx", "none") == (["not", "this"], [])


def test_of_equal_titles_the_first_counts(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["a", "a", None], [1, 2, 3]):
        book.active.append(row)  # type: ignore[union-attr]
    book.save(tmp_path / "a.xlsx")
    assert read_workbook(tmp_path / "a.xlsx", "") == (["a", "a"], [{"a": "1"}])


def write_sheet(path: Path, rows: str, declared: str = "") -> None:
    """Write a workbook whose first sheet has these rows in XML."""
    stream = io.BytesIO()
    openpyxl.Workbook().save(stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = f'<worksheet xmlns="{MAIN}">{declared}<sheetData>{rows}</sheetData></worksheet>'
            new.writestr(name, text if name == "xl/worksheets/sheet1.xml" else old.read(name))


def row(number: int, column: str) -> str:
    return f'<row r="{number}"><c r="{column}{number}"><v>1</v></c></row>'


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("".join(row(number, "XFD") for number in range(1, 5000)), "has more than 256 columns"),
        (row(1, "A") + row(2, "IW"), "has more than 256 columns"),
        (row(1, "A") + row(1_048_576, "A"), "has more than 50000 rows"),
        ("<row/>" * 3_000_000, r"inflates to \d+ bytes, more than 16777216"),
    ],
    ids=["wide", "one column more", "tall", "large"],
)
def test_sheets_larger_than_any_real_one_are_refused_by_name(rows: str, message: str, tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.xlsx", rows)
    assert (tmp_path / "a.xlsx").stat().st_size < 200_000
    with pytest.raises(UserError, match=rf"a\.xlsx: .*{message}"):
        read_workbook(tmp_path / "a.xlsx", "all")


def test_a_declared_size_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sheet(tmp_path / "a.xlsx", row(1, "A") + row(2, "A"), '<dimension ref="A1:XFD1048576"/>')
    monkeypatch.setattr(workbook, "MAXIMUM_ROWS", 2)
    monkeypatch.setattr(workbook, "MAXIMUM_COLUMNS", 1)
    assert read_workbook(tmp_path / "a.xlsx", "all") == (["1"], [{"1": "1"}])
