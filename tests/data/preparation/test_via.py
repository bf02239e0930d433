"""VIA exports: what is read, and what is named by its row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from modise_lightning.data.preparation.via import read_via_regions
from modise_lightning.data.preparation.via_shapes import Ellipse, Point
from modise_lightning.errors import UserError

HEADER = ["#filename", "file_size", "file_attributes", "region_count", "region_id"]
HEADER += ["region_shape_attributes", "region_attributes"]
CIRCLE = json.dumps({"name": "circle", "cx": 1, "cy": 2, "r": 3})


def write(path: Path, shapes: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([f"P{n}_L_DM_CC.jpg", 1, "{}", 1, 0, shape, "{}"] for n, shape in enumerate(shapes))
    return path


def test_broken_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    theta = json.dumps({"name": "ellipse", "cx": 1, "cy": 2, "rx": 3, "ry": 4, "theta": 0.5})
    point = json.dumps({"name": "point", "cx": 1, "cy": 2})
    shapes = [CIRCLE, '{"name":"cir', "[1]", "{}", theta, "[" * 5000, '{"name":"circle","cx":NaN}', point]
    regions, problems = read_via_regions(write(tmp_path / "regions.csv", shapes))
    assert [region.row for region in regions] == [2, 6, 9]
    assert regions[0].shape == Ellipse((1, 2), (3, 3))
    assert regions[1].shape == Ellipse((1, 2), (3, 4), 0.5)
    assert regions[2].shape == Point(1, 2)
    assert [problem.split(":")[0] for problem in problems] == [
        f"regions.csv, row {row} (P{row - 2}_L_DM_CC.jpg)" for row in (3, 4, 7, 8)
    ]


def test_a_short_row_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "regions.csv", [CIRCLE])
    with path.open("a") as file:
        file.write("P7_L_DM_CC.jpg,12\n\n")
    regions, problems = read_via_regions(path)
    assert len(regions) == 1
    assert problems == ["regions.csv, row 3: 2 columns instead of 7; left out."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found nothing"),
        (b"a,b\n1,2\n", "found a, b"),
        (b"\xff\xfe\x00\x00", "cannot be read as CSV"),
        (b"#filename,region_shape_attributes\nx," + b"1" * 200_000, "cannot be read as CSV"),
    ],
)
def test_another_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_via_regions(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"regions\.csv"):
        read_via_regions(tmp_path / "regions.csv")
