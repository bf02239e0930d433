"""The preparation report as JSON and as a table."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from modise_lightning.data.preparation.report import PreparationReport, render, write_report

REPORT = PreparationReport(
    name="Breasts [v2]",
    synthetic=True,
    root="data/breasts",
    counts={"images": 12, "patients": 3},
    problems=[f"image {number} [bold] is broken" for number in range(20)],
    notes=["one outline was closed"],
    tables={"classes": {"benign": {"images": 5}, "malignant": {"images": 7, "regions": 9}}},
)


def test_it_is_written_whole(tmp_path: Path) -> None:
    path = write_report(REPORT, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
    read = json.loads(path.read_text())
    assert PreparationReport(**read) == REPORT


def test_it_is_shown_whole_but_for_long_lists() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render(REPORT, max_lines=3))
    text = capture.get()
    for expected in (
        "Breasts [v2], synthetic",
        "12",
        "problems: 20",
        "image 2 [bold] is broken",
        "and 17 more",
    ):
        assert expected in text
    assert "image 3" not in text
    assert "one outline was closed" in text
    assert text.count("malignant") == 1
