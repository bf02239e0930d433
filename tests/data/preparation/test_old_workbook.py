"""The old kind of workbook is read as text, with limits."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from modise_lightning.data.preparation.workbook import MAXIMUM_BYTES, read_old_workbook
from modise_lightning.errors import UserError

pytest.importorskip("xlrd")


def sheet(*cells: tuple[int, int, str | float]) -> bytes:
    """Write a worksheet in Excel 2's format (BIFF2)."""
    records = struct.pack("<HHHH", 0x0009, 4, 2, 0x0010)
    for row, column, value in cells:
        place = struct.pack("<HH3x", row, column)
        if isinstance(value, str):
            body = place + bytes([len(value)]) + value.encode("latin-1")
        else:
            body = place + struct.pack("<d", value)
        records += struct.pack("<HH", 4 if isinstance(value, str) else 3, len(body)) + body
    return records + struct.pack("<HH", 0x000A, 0)


def test_numbers_lose_needless_decimals_and_gaps_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "old.xls"
    path.write_bytes(sheet((0, 0, "a"), (0, 1, "b"), (0, 3, ""), (1, 0, 20586908.0), (2, 1, 0.5)))
    assert read_old_workbook(path, "any") == (["a", "b"], [{"a": "20586908", "b": ""}, {"a": "", "b": "0.5"}])


def test_one_that_is_too_large_is_told(tmp_path: Path) -> None:
    path = tmp_path / "old.xls"
    path.write_bytes(sheet((0, 0, "a")))
    with path.open("ab") as file:
        file.truncate(MAXIMUM_BYTES + 1)
    with pytest.raises(UserError, match=f"more than {MAXIMUM_BYTES} bytes"):
        read_old_workbook(path, "any")
