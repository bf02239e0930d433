"""Prints how many lines and branches the tests run, by folder of the package: after ``make coverage``."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path

from coverage import Coverage
from rich.console import Console
from rich.table import Table

_PACKAGE = "modise_lightning/"
_WANTED = 85.0  # percent; folders below are marked


def main() -> None:
    """Read ``.coverage`` in the working directory and print a row a folder."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(path), include=["src/*"])  # no copy that a test installed
        files = json.loads(path.read_text())["files"]
    console = Console()
    table = Table("folder", "lines", "run", "branches", "run", title="lines and branches that the tests run")
    for room, counts in sorted(count_by_room(files).items()):
        lines, branches = percent(counts, "lines"), percent(counts, "branches")
        mark = " <" if min(lines, branches) < _WANTED else ""
        sizes = counts["lines"][1], counts["branches"][1]
        table.add_row(room, str(sizes[0]), f"{lines:.1f} %{mark}", str(sizes[1]), f"{branches:.1f} %")
    console.print(table)
    console.print(f"<: lines or branches below {_WANTED:.0f} %", highlight=False)


def count_by_room(files: dict[str, dict[str, dict[str, int]]]) -> dict[str, dict[str, tuple[int, int]]]:
    """Add up coverage's counts by folder: run and all, of lines and of branches.

    Args:
        files: What coverage's JSON report says of each file.
    """
    rooms: dict[str, dict[str, tuple[int, int]]] = defaultdict(lambda: {"lines": (0, 0), "branches": (0, 0)})
    for name, entry in files.items():
        inside = name.replace("\\", "/").rpartition(_PACKAGE)[2]
        room = str(Path(inside).parent) if "/" in inside else "(top)"
        summary = entry["summary"]
        for kind, run, every in (
            ("lines", "covered_lines", "num_statements"),
            ("branches", "covered_branches", "num_branches"),
        ):
            before = rooms[room][kind]
            rooms[room][kind] = (before[0] + summary[run], before[1] + summary[every])
    return rooms


def percent(counts: dict[str, tuple[int, int]], kind: str) -> float:
    """Give the share that was run; all of nothing is all."""
    run, every = counts[kind]
    return 100 * run / every if every else 100.0


if __name__ == "__main__":
    main()
