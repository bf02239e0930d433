"""The paper's own numbers, to print under ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class PaperDataset:
    """What the paper evaluates of a dataset.

    Attributes:
        num_images: All folds together.
        category_names: The classes.
    """

    num_images: int
    category_names: tuple[str, ...]


PAPER_DATASETS = {
    "cdd_cesm": PaperDataset(1225, ("benign", "malignant")),
    "vindr_mammo": PaperDataset(1768, ("BI-RADS 3", "BI-RADS 4", "BI-RADS 5")),
}


@dataclass(frozen=True)
class PaperRow:
    """One model of the paper on one dataset, five folds.

    Attributes:
        model: The paper's name of it.
        threshold: IoU threshold that all but Dice are at.
        values: Mean and standard deviation of RQ, SQ, PQ, AP and Dice, in percent.
    """

    model: str
    threshold: float
    values: dict[str, tuple[float, float]]


def read_paper_tables() -> dict[tuple[str, str], PaperRow]:
    """Read the paper's tables, which ship with the package, by dataset and experiment."""
    text = (
        files("modise_lightning.reporting.cross_validation")
        .joinpath("paper_tables.csv")
        .read_text(encoding="utf-8")
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows: dict[tuple[str, str], PaperRow] = {}
    for cells in csv.DictReader(lines):
        key = (cells["dataset"], cells["experiment"])
        # Dice has no threshold and is each model's last line.
        threshold = float(cells["iou_threshold"]) if cells["iou_threshold"] else rows[key].threshold
        row = rows.setdefault(key, PaperRow(cells["model"], threshold, {}))
        row.values[cells["metric"]] = (float(cells["mean"]), float(cells["std"]))
    return rows
