"""Tables of records: their columns, their CSV files, and what is checked when these are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from modise_lightning.atomic_files import write_text_atomically
from modise_lightning.csv_cells import guard_cell, unguard_cell
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

Kind = Literal["text", "count", "optional count", "fraction", "optional fraction", "optional length"]
Columns = Mapping[str, Kind]

_DTYPES = {
    "text": "str",
    "count": "int64",
    "optional count": "Int64",
    "fraction": "float64",
    "optional fraction": "float64",
    "optional length": "float64",
}
_LONGEST = 1e6  # of a length, whatever its unit


def make_rows(columns: Columns, rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    """Make a table with columns of their types.

    Args:
        columns: Name and kind of each.
        rows: Values in the order of the columns.
    """
    types = {column: _DTYPES[kind] for column, kind in columns.items()}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def write_table(path: Path, table: pd.DataFrame, columns: Columns) -> None:
    """Write a table as CSV; numbers keep all their digits.

    Args:
        path: Its folder is made if it is missing.
        table: Of these columns.
        columns: Name and kind of each.
    """
    guarded = table.copy()
    for column, kind in columns.items():
        if kind == "text":
            guarded[column] = guarded[column].map(guard_cell)
    write_text_atomically(path, guarded.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, columns: Columns, choices: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Read and check what ``write_table`` wrote.

    Args:
        path: A CSV file.
        columns: Name and kind of each.
        choices: For a column of texts, those that may stand there.

    Raises:
        UserError: The file is missing or damaged; names row and column.
    """
    try:
        # As text first: pandas would take a file named "NA" for a missing value.
        content = StringIO(check_regular(path).read_text(encoding="utf-8"))
        text = pd.read_csv(content, dtype=str, keep_default_na=False)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a folder that a run wrote, records/<model>."
        ) from error
    except ValueError as error:  # pandas' parser errors, and bytes that are not UTF-8
        raise UserError(f"{path}: not a CSV file of records ({error}).") from error
    if list(text.columns) != list(columns):
        raise UserError(f"{path}: expected the columns {list(columns)}, found {list(text.columns)}.")
    converted = {column: _convert(path, text[column], kind) for column, kind in columns.items()}
    table = pd.DataFrame(converted)
    for column, allowed in choices.items():
        check(path, table[column], table[column].isin(list(allowed)), f"one of {sorted(allowed)}")
    return table


def _convert(path: Path, column: pd.Series, kind: Kind) -> pd.Series:
    if kind == "text":
        return column.map(unguard_cell)
    numbers = pd.to_numeric(column, errors="coerce")
    if kind == "count":
        fits = column.str.fullmatch(r"\d{1,18}")
        check(path, column, fits, "a whole number that is not negative")
        return column.astype("int64")
    missing = (column == "") if kind.startswith("optional") else pd.Series(False, index=column.index)
    if kind == "optional count":
        fits = missing | column.str.fullmatch(r"\d{1,18}")
        check(path, column, fits, "a whole number that is not negative, or nothing")
        return pd.Series([int(value) if value else pd.NA for value in column], column.index, dtype="Int64")
    if kind == "optional length":
        check(path, column, missing | numbers.between(0, _LONGEST), f"a number in [0, {_LONGEST:g}]")
    else:
        check(path, column, missing | numbers.between(0, 1), "a number in [0, 1]")
    # float() gives back exactly the number that was written; pandas' faster parser may not.
    return pd.Series([float(value) if value else np.nan for value in column], column.index, dtype="float64")


def check(path: Path, column: pd.Series, fits: pd.Series, expected: str) -> None:
    """Refuse the first cell that does not fit, by its line and column."""
    if not fits.all():
        row = int(np.argmin(fits.to_numpy(dtype=bool)))
        raise UserError(
            f"{path}: line {row + 2}, {column.name}: expected {expected}, found '{column.iloc[row]}'."
        )


def check_unique(path: Path, table: pd.DataFrame, key: list[str]) -> None:
    """Refuse a second line of one key."""
    repeated = table.duplicated(key).to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        raise UserError(f"{path}: line {row + 2} repeats the {', '.join(key)} of an earlier line.")


def check_known(path: Path, keys: pd.DataFrame, known: pd.DataFrame, other: str) -> None:
    """Refuse a line of something that another table does not have."""
    found = pd.MultiIndex.from_frame(keys).isin(pd.MultiIndex.from_frame(known))
    if not found.all():
        row = int(np.argmin(found))
        values = ", ".join(f"{name} {value}" for name, value in keys.iloc[row].items())
        raise UserError(f"{path}: line {row + 2}: {other} has no {values}.")
