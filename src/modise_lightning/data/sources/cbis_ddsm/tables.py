"""Reads CBIS-DDSM's four tables: a row is an abnormality of a view, with its mammogram, mask and crop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.csv_table import CsvRow, read_csv_table

Kind = Literal["mass", "calcification"]
Split = Literal["training", "test"]

# By the files' names, as the archive spells them.
TABLES: dict[str, tuple[Kind, Split]] = {
    "mass_case_description_train_set.csv": ("mass", "training"),
    "mass_case_description_test_set.csv": ("mass", "test"),
    "calc_case_description_train_set.csv": ("calcification", "training"),
    "calc_case_description_test_set.csv": ("calcification", "test"),
}
_FOLDERS = {"mass": "Mass", "calcification": "Calc", "training": "Training", "test": "Test"}
PATHOLOGIES = {"BENIGN": "benign", "BENIGN_WITHOUT_CALLBACK": "benign", "MALIGNANT": "malignant"}
_DENSITIES = {"1": "A", "2": "B", "3": "C", "4": "D"}  # the release numbers BI-RADS' letters; 0 is unknown
_PATHS = ("image file path", "cropped image file path", "ROI mask file path")
_COLUMNS = (
    "patient_id",
    "left or right breast",
    "image view",
    "abnormality id",
    "abnormality type",
    "assessment",
    "pathology",
    *_PATHS,
)
_DENSITY_COLUMNS = ("breast_density", "breast density")  # of the mass tables, and of the others
_PATIENT = re.compile(r"P_\d{5}")
_ABNORMALITY = re.compile(r"[1-9]\d?")
# Study and series are DICOM UIDs (PS3.5, 9.1).
_PATH = re.compile(r"(?P<folder>[\w-]{1,64})/(?P<study>[\d.]{1,64})/(?P<series>[\d.]{1,64})/\d{6}\.dcm")


@dataclass(frozen=True)
class Abnormality:
    """A row of a table.

    Attributes:
        table: Name of the file.
        row: Line that it ends on, counted from 1, the header included.
        number: Of the abnormality in its view.
        kind: Mass or calcification.
        pathology: ``benign`` or ``malignant``; benign without callback is benign.
        assessment: BI-RADS category, 0 to 5.
        series: Series UIDs that hold its mask and its crop: one, or one each. Which of the files is which the
            columns do not say reliably.
    """

    table: str
    row: int
    number: int
    kind: Kind
    pathology: str
    assessment: int
    series: tuple[str, ...]

    @property
    def where(self) -> str:
        """Name the row for a message."""
        return f"{self.table}, row {self.row}"


@dataclass(frozen=True)
class Mammogram:
    """An image series and its abnormalities, all of one table.

    Attributes:
        name: The archive's folder for it, such as ``Mass-Training_P_00001_LEFT_CC``.
        number: Its place among the images of all tables, from 1.
        patient: As the release writes it, such as ``P_00001``.
        split: The official one of its table.
        laterality: ``L`` or ``R``.
        view: ``CC`` or ``MLO``.
        density: ``A`` to ``D``; empty where the release does not say.
        series: Its series UID.
        abnormalities: In the order of the table.
    """

    name: str
    number: int
    patient: str
    split: Split
    laterality: str
    view: str
    density: str
    series: str
    abnormalities: list[Abnormality]


def read_tables(paths: Mapping[str, Path]) -> tuple[list[Mammogram], dict[str, int], list[str]]:
    """Read the tables that are there.

    Args:
        paths: File of each table, by its name in ``TABLES``.

    Returns:
        The images, in the order of the tables; the abnormalities of each table, unusable rows included; and a
        sentence for each row that cannot be used.

    Raises:
        UserError: A file cannot be read, or lacks a column.
    """
    images: dict[str, Mammogram] = {}
    numbers: dict[str, int] = {}
    problems: list[str] = []
    owners: dict[str, str] = {}
    for name, path in paths.items():
        rows, unreadable = read_csv_table(path, _COLUMNS)
        numbers[name] = len(rows) + len(unreadable)
        problems += unreadable
        for row in rows:
            try:
                image, abnormality = _read_row(name, row, len(images) + 1)
                image = _join(images.get(image.name, image), image, abnormality, owners)
            except ValueError as error:
                problems.append(
                    f"{name}, row {row.number} ({row.cells['patient_id'][:40]}): {error}; left out."
                )
                continue
            images.setdefault(image.name, image).abnormalities.append(abnormality)
            owners |= dict.fromkeys((image.series, *abnormality.series), abnormality.where)
    return list(images.values()), numbers, problems


def _join(
    known: Mammogram, image: Mammogram, abnormality: Abnormality, owners: Mapping[str, str]
) -> Mammogram:
    """Check a row against those before it.

    Raises:
        ValueError: They contradict each other.
    """
    if known.series != image.series:
        raise ValueError(f"another image series than in {known.abnormalities[0].where}, of the same name")
    for other in known.abnormalities:
        if other.number == abnormality.number:
            raise ValueError(f"abnormality {abnormality.number} of {image.name} is in row {other.row} too")
    if image.series in abnormality.series:
        raise ValueError(f"the series {image.series} is that of the image and of a mask")
    of_others = [*abnormality.series] if known.abnormalities else [image.series, *abnormality.series]
    for series in of_others:
        if series in owners:
            raise ValueError(f"the series {series} belongs to {owners[series]} too")
    return known


def _read_row(table: str, row: CsvRow, number: int) -> tuple[Mammogram, Abnormality]:
    """Read a row.

    Raises:
        ValueError: Says what of it is wrong.
    """
    cells, (kind, split) = row.cells, TABLES[table]
    patient = _one_of(cells, "patient_id", _PATIENT)
    side = _one_of(cells, "left or right breast", ("LEFT", "RIGHT"))
    view = _one_of(cells, "image view", ("CC", "MLO"))
    abnormality_id = _one_of(cells, "abnormality id", _ABNORMALITY)
    _one_of(cells, "abnormality type", (kind,))
    assessment = _one_of(cells, "assessment", tuple("012345"))
    pathology = _one_of(cells, "pathology", tuple(PATHOLOGIES))
    name = f"{_FOLDERS[kind]}-{_FOLDERS[split]}_{patient}_{side}_{view}"
    image, *others = (
        _series(cells, column, name if column == _PATHS[0] else f"{name}_{abnormality_id}")
        for column in _PATHS
    )
    density = next((cells[column] for column in _DENSITY_COLUMNS if column in cells), "")
    mammogram = Mammogram(name, number, patient, split, side[0], view, _DENSITIES.get(density, ""), image, [])
    abnormality = Abnormality(
        table,
        row.number,
        int(abnormality_id),
        kind,
        PATHOLOGIES[pathology],
        int(assessment),
        tuple(dict.fromkeys(others)),
    )
    return mammogram, abnormality


def _one_of(cells: Mapping[str, str], column: str, expected: tuple[str, ...] | re.Pattern[str]) -> str:
    text = cells[column]
    if isinstance(expected, re.Pattern):
        if not expected.fullmatch(text):
            raise ValueError(f"{column} is {text[:40]!r}, which is none")
    elif text not in expected:
        raise ValueError(f"{column} is {text[:40]!r}, expected {' or '.join(expected)}")
    return text


def _series(cells: Mapping[str, str], column: str, folder: str) -> str:
    """Give the series UID that a path names; the path itself leads nowhere in most downloads."""
    match = _PATH.fullmatch(cells[column])
    if match is None or match["folder"] != folder:
        raise ValueError(f"{column} is {cells[column][:80]!r}, expected {folder}/STUDY/SERIES/FILE.dcm")
    return match["series"]
