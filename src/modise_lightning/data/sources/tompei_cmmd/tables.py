"""Reads TOMPEI-CMMD's outlines and its workbook of breasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.data.preparation.via_shapes import Polygon
from modise_lightning.data.preparation.workbook import read_workbook
from modise_lightning.data.sources.tompei_cmmd.files import PATIENT
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

SHEET = "Imaging Diagnosis Details Sheet"
CLASSES = ("malignant", "benign", "normal", "invisible", "exclusion")
FINDINGS = ("mass", "calcification", "distortion", "focal asymmetry", "lipoma")
_SPELLINGS = {
    "mass": "mass",
    "calc": "calcification",
    "dist": "distortion",
    "fa": "focal asymmetry",
    "fad": "focal asymmetry",  # focal asymmetric density
    "lipoma": "lipoma",
}
_DENSITIES = {"fatty": "A", "scattered": "B", "heterogeneous dense": "C", "extremely dense": "D"}
_COLUMNS = ("ID", "LeftRight", "classification", "Breast density", "BI-RADS Category")
# The titles are in two rows; the column behind "classification" has one in the second of them only.
_REASON, _REASON_TITLE = "", "exclusion reasons"
_MAXIMUM_BYTES = 8 * 2**20  # of outlines; the release's files have kilobytes
_LARGEST_COORDINATE = 1e6  # far beyond any image; keeps the products of coordinates finite


@dataclass(frozen=True)
class Outline:
    """A lesion.

    Attributes:
        number: Its place in the file, from 1.
        label: As it stands there.
        finding: One of ``FINDINGS``; None if the label is none of the release.
        shape: Its outline; polylines are closed.
    """

    number: int
    label: str
    finding: str | None
    shape: Polygon


@dataclass(frozen=True)
class Breast:
    """A row of the workbook.

    Attributes:
        row: Its number, counted from 1, the titles included.
        classification: One of ``CLASSES``.
        reason: Why it should be left out; empty if it should not.
        density: ``A`` to ``D``; empty if it is not given.
        birads: Its BI-RADS category; empty if it is not given.
    """

    row: int
    classification: str
    reason: str
    density: str
    birads: str


def read_outlines(path: Path) -> tuple[list[Outline], list[str]]:
    """Read an image's outlines.

    Args:
        path: The JSON file.

    Returns:
        The outlines, and what is wrong with those that cannot be read, the end of a sentence each.

    Raises:
        UserError: It is too large, no JSON, or no list.
    """
    try:
        if check_regular(path).stat().st_size > _MAXIMUM_BYTES:
            raise UserError(f"it has more than {_MAXIMUM_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"it cannot be read as JSON ({' '.join(str(error).split())})") from error
    if not isinstance(found, list):
        raise UserError("it is no list of lesions")
    outlines: list[Outline] = []
    problems: list[str] = []
    for number, lesion in enumerate(found, start=1):
        try:
            outlines.append(_outline(number, lesion))
        except ValueError as error:
            problems.append(f"lesion {number} {error}")
    return outlines, problems


def _outline(number: int, lesion: object) -> Outline:
    """Read a lesion.

    Raises:
        ValueError: Says what of it is wrong, without naming it.
    """
    if not isinstance(lesion, dict):
        raise ValueError("is no object")
    label, points = lesion.get("label"), lesion.get("cgPoints")
    if not isinstance(label, str):
        raise ValueError(f"has the label {str(label)[:40]!r}, expected a text")
    if not isinstance(points, list):
        raise ValueError("has no list cgPoints")
    vertices = tuple(_vertex(point) for point in points)
    if len(set(vertices)) < 3:
        raise ValueError(f"has {len(set(vertices))} different points, at least 3 are needed")
    return Outline(number, label.strip(), _SPELLINGS.get(label.strip().lower()), Polygon(vertices))


def _vertex(point: object) -> tuple[float, float]:
    values = [point.get("x"), point.get("y")] if isinstance(point, dict) else []
    numbers = [
        float(value)
        for value in values
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= _LARGEST_COORDINATE
    ]
    if len(numbers) != 2:
        raise ValueError(f"has the point {str(point)[:60]!r}, expected x and y in pixels")
    return numbers[0], numbers[1]


def read_breasts(path: Path) -> tuple[dict[tuple[str, str], Breast], list[str]]:
    """Read the workbook.

    Args:
        path: The XLSX file.

    Returns:
        The row of each patient and side, and a sentence for each row that cannot be used.

    Raises:
        UserError: It cannot be read, or lacks a column.
    """
    try:
        titles, records = read_workbook(path, SHEET)
    except UserError:
        raise
    except Exception as error:  # Damaged workbooks make zipfile, zlib and openpyxl raise almost anything.
        raise UserError(f"{path}: cannot be read as a workbook ({error}). Get the file anew.") from error
    spelled = {" ".join(title.split()): title for title in titles}
    missing = [column for column in _COLUMNS if column not in spelled]
    second = records[0] if records else {}
    if missing or " ".join(second.get(_REASON, "").lower().split()) != _REASON_TITLE:
        raise UserError(
            f"{path}: no column '{missing[0] if missing else 'Exclusion reasons'}' in its sheet; found "
            f"{', '.join(spelled)[:200] or 'nothing'}."
        )
    breasts: dict[tuple[str, str], Breast] = {}
    problems: list[str] = []
    for number, record in enumerate(records[1:], start=3):
        cells = {column: record[spelled[column]].strip() for column in _COLUMNS}
        if not any(cells.values()):
            continue
        try:
            breast = _breast(number, cells, record[_REASON].strip())
            known = breasts.setdefault((cells["ID"], cells["LeftRight"]), breast)
            if known is not breast:
                raise ValueError(f"its breast is in row {known.row} too")
        except ValueError as error:
            problems.append(f"{path.name}, row {number} ({cells['ID'][:40]}): {error}; left out.")
    return breasts, problems


def _breast(number: int, cells: Mapping[str, str], reason: str) -> Breast:
    """Read a row.

    Raises:
        ValueError: Says what of it is wrong.
    """
    if not PATIENT.fullmatch(cells["ID"]):
        raise ValueError(f"ID is {cells['ID'][:40]!r}, which is no patient of CMMD")
    if cells["LeftRight"] not in ("L", "R"):
        raise ValueError(f"LeftRight is {cells['LeftRight'][:40]!r}, expected L or R")
    classification = cells["classification"].lower()
    if classification not in CLASSES:
        raise ValueError(f"classification is {cells['classification'][:40]!r}, expected {', '.join(CLASSES)}")
    density = _DENSITIES.get(" ".join(cells["Breast density"].lower().split()), "")
    return Breast(number, classification, " ".join(reason.split()), density, cells["BI-RADS Category"])
