"""The table's cells are the numbers of the results, at each model's own best threshold."""

from __future__ import annotations

import io
import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.text_tables.results import render_results


def result(offset: float = 0.0, best: float = 0.3, second: str = "malignant") -> EvaluationResult:
    def curves(start: float) -> dict[str, list[float]]:
        return {"benign": [start + 0.01, start + 0.02], second: [start + 0.03, math.nan]}

    return EvaluationResult(
        num_images=12,
        category_names=["benign", second],
        thresholds=[0.1, 0.3],
        best_threshold=best,
        panoptic_quality=[offset + 0.11111, offset + 0.12344],
        recognition_quality=[offset + 0.21, offset + 0.22],
        segmentation_quality=[offset + 0.31, math.nan],
        average_precision=[offset + 0.41, offset + 0.42],
        dice=offset + 0.5,
        panoptic_quality_by_category=curves(0.1),
        recognition_quality_by_category=curves(0.2),
        segmentation_quality_by_category=curves(0.3),
        average_precision_by_category=curves(0.4),
        dice_by_category={"benign": 0.51, second: math.nan},
    )


def rows(table: Table) -> list[list[str]]:
    columns = [
        [cell.plain if isinstance(cell, Text) else str(cell) for cell in column.cells]
        for column in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def printed(table: Table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_cells_are_the_numbers_in_percent() -> None:
    table = render_results("title", {"trained": result(), "one bright blob": result(0.01, best=0.1)}, None)
    assert [str(column.header) for column in table.columns] == ["", "T", "PQ", "RQ", "SQ", "AP", "Dice"]
    assert rows(table) == [
        ["trained", "0.30", "12.34", "22.00", "-", "42.00", "50.00"],
        ["  benign", "", "12.00", "22.00", "32.00", "42.00", "51.00"],
        ["  malignant", "", "-", "-", "-", "-", "-"],
        ["one bright blob", "0.10", "12.11", "22.00", "32.00", "42.00", "51.00"],
    ]


def test_title_images_and_note_are_printed() -> None:
    text = printed(
        render_results("tiny on phantom", {"trained": result()}, "Synthetic phantom images, not patients")
    )
    assert "tiny on phantom" in text
    assert "12 images" in text
    assert "Synthetic phantom images, not patients" in text
    assert "Synthetic" not in printed(render_results("tiny", {"trained": result()}, None))


def test_brackets_in_names_are_no_markup() -> None:
    table = render_results("run [bold]", {"trained [red]": result(second="mass [/x]")}, "note [/dim]")
    text = printed(table)
    for part in ("run [bold]", "trained [red]", "mass [/x]", "note [/dim]"):
        assert part in text
