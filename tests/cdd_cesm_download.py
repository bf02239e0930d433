"""Writes the parts of a CDD-CESM download in the layout of the release."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

LOW, SUBTRACTED = "Low energy images of CDD-CESM", "Subtracted images of CDD-CESM"
SHEET, REGIONS = "Radiology manual annotations.xlsx", "Radiology_hand_drawn_segmentations_v2.csv"
SIZE = (120, 80)  # height, width


def circle(x: float, y: float, radius: float) -> dict[str, object]:
    return {"name": "circle", "cx": x, "cy": y, "r": radius}


def write_sheet(path: Path, classes: Mapping[str, str], findings: Mapping[str, str] | None = None) -> None:
    rows: list[list[object]] = [
        [
            "Image_name",
            "Patient_ID",
            "Side",
            "Type",
            "Breast density (ACR)",
            "BIRADS",
            "Findings",
            "View",
            "Pathology Classification/ Follow up",
        ]
    ]
    for name, classification in classes.items():
        patient, side, kind, view = name.strip().split("_")[:4]
        modality = "CESM" if kind == "CM" else kind
        density = "_" if kind == "CM" else "C"
        finding = "Mass" if findings is None else findings[name]
        rows.append([name, int(patient[1:]), side, modality, density, "3$2", finding, view, classification])
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return
    book = openpyxl.Workbook()
    book.active.title = "mass_description"  # type: ignore[union-attr]
    sheet = book.create_sheet("all")
    for row in rows:
        sheet.append(row)
    book.save(path)


def write_regions(path: Path, regions: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "#filename",
                "file_size",
                "file_attributes",
                "region_count",
                "region_id",
                "region_shape_attributes",
                "region_attributes",
            ]
        )
        for name, shapes in regions.items():
            for number, shape in enumerate(shapes):
                writer.writerow([f"{name}.jpg", 1, "{}", len(shapes), number, json.dumps(shape), "{}"])


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)
