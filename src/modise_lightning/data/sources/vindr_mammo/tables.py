"""Reads VinDr-Mammo's tables: the findings with their boxes, and the images of every breast."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.box_to_mask import Box
from modise_lightning.data.preparation.csv_table import CsvRow, read_csv_table

OfficialSplit = Literal["training", "test"]

NO_FINDING = "No Finding"
_BOX = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_COLUMNS = ("study_id", "image_id", "laterality", "view_position", "height", "width")
_BREAST_COLUMNS = ("breast_birads", "breast_density", "split")
_FINDING_COLUMNS = ("finding_categories", "finding_birads", *_BOX)
# The ids of the release are 32 hexadecimal digits; they become file names, so nothing else may come through.
_ID = re.compile(r"[0-9A-Za-z_-]{1,100}")
# A list of texts as Python prints it.
_TEXT = r"""(?:'([^'"\\\[\]]*)'|"([^"\\\[\]]*)")"""
_TEXTS = re.compile(_TEXT)
_LIST = re.compile(rf"\[\s*(?:{_TEXT}\s*(?:,\s*{_TEXT}\s*)*)?\]")
# Far beyond any image; keeps the products of coordinates finite.
_LARGEST_COORDINATE = 1e6


@dataclass(frozen=True)
class Finding:
    """A finding with its box.

    Attributes:
        row: Line of the table, counted from 1, the header included.
        categories: What it is; more than one is possible.
        birads: Its assessment, ``BI-RADS 3`` say, or empty.
        box: Where it is, in pixels of the full image.
    """

    row: int
    categories: tuple[str, ...]
    birads: str
    box: Box


@dataclass(frozen=True)
class AnnotatedImage:
    """What the table of findings says of an image.

    Attributes:
        image_id: Name of its file without suffix.
        study_id: The exam that it belongs to; the release names no patient.
        row: Its first line in the table.
        size: Height and width in pixels.
        split: The official split of its study.
        attributes: What else goes into the index, as far as it is given.
        findings: Those with a box, in the order of the table.
        is_normal: Whether all its rows say that there is no finding.
    """

    image_id: str
    study_id: str
    row: int
    size: tuple[int, int]
    split: OfficialSplit
    attributes: dict[str, str]
    findings: list[Finding] = field(default_factory=list)
    is_normal: bool = False


def read_findings(path: Path) -> tuple[dict[str, AnnotatedImage], list[str]]:
    """Read the table of findings; rows without a finding name images only.

    Args:
        path: ``finding_annotations.csv``.

    Returns:
        The images, in the order of the table, and a sentence for each row that cannot be used.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    rows, problems = read_csv_table(path, (*_IMAGE_COLUMNS, *_BREAST_COLUMNS, *_FINDING_COLUMNS))
    images: dict[str, AnnotatedImage] = {}
    first_of_study: dict[str, AnnotatedImage] = {}
    with_finding: set[str] = set()  # or with a row that cannot be used, which may have been one
    for row in rows:
        try:
            image = _image(row)
            _check_agreement(image, images.get(image.image_id), first_of_study.get(image.study_id))
            finding = _finding(row)
        except ValueError as error:
            name = row.cells["image_id"][:100]
            problems.append(f"{path.name}, row {row.number} ({name}): {error}; left out.")
            with_finding.add(row.cells["image_id"])
            continue
        first_of_study.setdefault(image.study_id, image)
        known = images.setdefault(image.image_id, image)
        if finding is not None:
            known.findings.append(finding)
            with_finding.add(image.image_id)
    images = {
        image_id: image if image_id in with_finding else replace(image, is_normal=True)
        for image_id, image in images.items()
    }
    return images, problems


def read_breasts(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read the table of all images.

    Args:
        path: ``breast-level_annotations.csv``.

    Returns:
        The official split of each image id, and a sentence for each row that cannot be used.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    rows, problems = read_csv_table(path, ("study_id", "image_id", "split"))
    return {row.cells["image_id"]: row.cells["split"] for row in rows}, problems


def _image(row: CsvRow) -> AnnotatedImage:
    cells = row.cells
    for column in ("study_id", "image_id"):
        if not _ID.fullmatch(cells[column]):
            raise ValueError(f"{column} {cells[column][:40]!r} is no id")
    split: OfficialSplit
    match cells["split"]:
        case "training":
            split = "training"
        case "test":
            split = "test"
        case other:
            raise ValueError(f"split is {other[:40]!r}, expected training or test")
    names = {
        "laterality": "laterality",
        "view_position": "view",
        "breast_birads": "breast_birads",
        "breast_density": "breast_density",
    }
    attributes = {name: cells[column] for column, name in names.items() if cells[column]}
    size = (_pixels(cells, "height"), _pixels(cells, "width"))
    return AnnotatedImage(
        cells["image_id"], cells["study_id"], row.number, size, split, attributes | {"split": split}
    )


def _check_agreement(
    image: AnnotatedImage, same_image: AnnotatedImage | None, same_study: AnnotatedImage | None
) -> None:
    """Check a row against the first one of its image and of its study."""
    if same_image is not None and (image.study_id, image.size) != (same_image.study_id, same_image.size):
        raise ValueError(f"study or size contradict row {same_image.row}")
    if same_study is not None and image.split != same_study.split:
        raise ValueError(
            f"its study is in {image.split!r} here and in {same_study.split!r} in row {same_study.row}"
        )


def _finding(row: CsvRow) -> Finding | None:
    """Read the finding of a row; None if there is none."""
    categories = parse_list(row.cells["finding_categories"])
    texts = [row.cells[column] for column in _BOX]
    if set(categories) <= {NO_FINDING}:
        if any(texts):
            raise ValueError(f"a box, but finding_categories is {row.cells['finding_categories'][:60]!r}")
        return None
    left, top, right, bottom = (_coordinate(text, column) for text, column in zip(texts, _BOX, strict=True))
    if right <= left or bottom <= top:
        raise ValueError(f"the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) has no area")
    return Finding(row.number, categories, row.cells["finding_birads"], Box(left, top, right, bottom))


def parse_list(text: str) -> tuple[str, ...]:
    """Read a list of texts as Python prints it, without evaluating it.

    Raises:
        ValueError: It is not one.
    """
    if not _LIST.fullmatch(text):
        raise ValueError(f"finding_categories {text[:60]!r} is not a list of texts")
    return tuple((single or double).strip() for single, double in _TEXTS.findall(text))


def _coordinate(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST_COORDINATE:
        raise ValueError(f"{column} is {text[:40]!r}, expected a number of pixels")
    return value


def _pixels(cells: Mapping[str, str], column: str) -> int:
    # Tables that were saved anew often hold 3518.0.
    value = _coordinate(cells[column], column)
    if value < 1 or value != int(value):
        raise ValueError(f"{column} is {cells[column][:40]!r}, expected a number of pixels")
    return int(value)
