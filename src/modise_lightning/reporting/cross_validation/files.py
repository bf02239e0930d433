"""Writes the tables of a cross-validation into a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from modise_lightning.atomic_files import write_text_atomically
from modise_lightning.reporting.cross_validation.csv_rows import results_csv
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import TextTable, to_latex, to_markdown


def write_table(folder: Path, table: DatasetTable, parts: Sequence[TextTable], name: str) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.tex`` with all parts, and ``NAME.csv`` with every value.

    Args:
        folder: Made if it is missing.
        table: Of one dataset.
        parts: Its layouts: the results, and the comparison if there is one.
        name: Without ending; see ``file_names``.

    Returns:
        The files.
    """
    return write_parts(folder, parts, results_csv(table), name)


def write_parts(folder: Path, parts: Sequence[TextTable], values: str, name: str) -> list[Path]:
    """Write tables as ``NAME.md`` and ``NAME.tex``, and the values that they are of as ``NAME.csv``.

    Args:
        folder: Made if it is missing.
        parts: Tables, one below the other.
        values: The content of the CSV file.
        name: Without ending.

    Returns:
        The files.
    """
    contents = {
        "md": "\n".join(map(to_markdown, parts)),
        "tex": "\n".join(map(to_latex, parts)),
        "csv": values,
    }
    written = []
    for ending, content in contents.items():
        path = folder / f"{name}.{ending}"
        write_text_atomically(path, content)
        written.append(path)
    return written


def write_csv(folder: Path, name: str, contents: Mapping[str, str]) -> list[Path]:
    """Write ``NAME_WHAT.csv`` of each.

    Args:
        folder: Made if it is missing.
        name: Without ending; see ``file_names``.
        contents: By what it is of.

    Returns:
        The files.
    """
    written = []
    for what, content in contents.items():
        path = folder / f"{name}_{what}.csv"
        write_text_atomically(path, content)
        written.append(path)
    return written


def file_names(tables: Sequence[DatasetTable]) -> list[str]:
    """Name the files of each table after its dataset, and tell datasets of one name apart.

    Args:
        tables: All that go into one folder.
    """
    # A dataset's name comes from a file: it must not lead out of the folder.
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "_", table.dataset) for table in tables]
    return [
        name if plain.count(name) == 1 else f"{name}_{_digest(table)}"
        for name, table in zip(plain, tables, strict=True)
    ]


def _digest(table: DatasetTable) -> str:
    identity = json.dumps([table.dataset, table.digest, table.data_split])
    return hashlib.sha256(identity.encode()).hexdigest()[:8]
