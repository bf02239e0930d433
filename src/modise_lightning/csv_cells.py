"""Cells of tables that spreadsheets open: text that they would take for a formula is marked as text."""

from __future__ import annotations

from collections.abc import Iterable

# What a cell begins with that spreadsheets compute (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guard_cell(text: str) -> str:
    """Put an apostrophe, which spreadsheets take for "text follows", before what would be a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unguard_cell(cell: str) -> str:
    """Give back what ``guard_cell`` was given."""
    is_guarded = cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA)
    return cell.removeprefix("'") if is_guarded else cell


def guard_cells(row: Iterable[object]) -> list[object]:
    """Guard the cells of a row that are text; numbers stay numbers."""
    return [guard_cell(cell) if isinstance(cell, str) else cell for cell in row]
