"""What a preparation found, used, repaired and left out: a table for the terminal, and ``report.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from modise_lightning.atomic_files import write_text_atomically

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class PreparationReport:
    """What a preparation found, used, repaired and left out.

    Attributes:
        name: Name of the dataset.
        synthetic: Whether its images show no real patients.
        root: Folder of the prepared dataset.
        counts: How many of what, in the order to show.
        problems: What is wrong with the input and had to be left out or guessed, a sentence each; ``strict``
            preparation fails on them.
        notes: What was repaired or left out by design, a sentence each; never a reason to fail.
        tables: Further counts in tables: title, then row, then column (for example images and regions of each
            class).
    """

    name: str
    synthetic: bool
    root: str
    counts: dict[str, int]
    problems: list[str]
    notes: list[str] = field(default_factory=list)
    tables: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write the report as JSON text with a final newline."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def write_report(report: PreparationReport, folder: Path) -> Path:
    """Write ``report.json`` into a folder: whole or not at all.

    Args:
        report: The report.
        folder: An existing folder.

    Returns:
        The file.
    """
    path = folder / REPORT_FILE
    write_text_atomically(path, report.to_json())
    return path


def render(report: PreparationReport, max_lines: int = 12) -> Table:
    """Show the report as one table.

    Args:
        report: The report.
        max_lines: Problems, notes and rows of a table shown at most; ``report.json`` has all of them.

    Returns:
        The table.
    """
    synthetic = ", synthetic" if report.synthetic else ""
    table = Table(
        title=Text(f"{report.name}{synthetic}: {report.root}"),
        title_justify="left",
        show_header=False,
        box=None,
    )
    counts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    counts.add_column()
    counts.add_column(justify="right")
    for label, number in report.counts.items():
        counts.add_row(Text(label), str(number))
    table.add_row(counts)
    for title, rows in report.tables.items():
        if rows:
            table.add_row(Text(f"\n{title}", style="bold"))
            table.add_row(_render_counts(dict(list(rows.items())[:max_lines])))
            _tell_the_rest(table, len(rows) - max_lines)
    for title, lines, style in (("problems", report.problems, "red"), ("notes", report.notes, "")):
        if lines:
            table.add_row(Text(f"\n{title}: {len(lines)}", style="bold"))
            for line in lines[:max_lines]:
                table.add_row(Text(line, style=style))
            _tell_the_rest(table, len(lines) - max_lines)
    return table


def _render_counts(rows: dict[str, dict[str, int]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    table.add_column()
    for column in columns:
        table.add_column(Text(column), justify="right")
    for label, row in rows.items():
        table.add_row(Text(label), *(str(row.get(column, "")) for column in columns))
    return table


def _tell_the_rest(table: Table, number: int) -> None:
    if number > 0:
        table.add_row(f"and {number} more in {REPORT_FILE}")
