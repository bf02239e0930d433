"""Finds what an INbreast download holds, and reads its table: CSV with semicolons, or the workbook."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.data.preparation.csv_table import read_csv_table
from modise_lightning.data.preparation.download import describe_files, list_download, only_file, only_files
from modise_lightning.data.preparation.workbook import read_old_workbook, read_workbook
from modise_lightning.errors import UserError

URL = "https://doi.org/10.1016/j.acra.2011.09.014"
DOWNLOAD = f"on request from its authors, {URL}"
COLUMNS = ("Laterality", "View", "File Name", "ACR", "Bi-Rads")
ASSESSMENTS = ("1", "2", "3", "4a", "4b", "4c", "5", "6")
_TABLE_SUFFIXES = (".csv", ".xls", ".xlsx")  # the first that is there counts
# 20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm; ML in the name is MLO in the table, and one view is FB.
_IMAGE = re.compile(
    r"(?P<number>\d{6,9})_(?P<patient>[0-9a-f]{8,32})_MG_(?P<side>[LR])_(?P<view>CC|MLO|ML|FB)_ANON",
    re.IGNORECASE,
)
_DENSITIES = {"1": "A", "2": "B", "3": "C", "4": "D"}  # the release numbers BI-RADS' letters


@dataclass(frozen=True)
class CaseImage:
    """What an image's name and its row say of it.

    Attributes:
        number: Of the image.
        patient: Anonymised patient, from the image's name.
        laterality: ``L`` or ``R``.
        view: ``CC``, ``MLO`` or ``FB``.
        density: ``A`` to ``D``; empty if it is not known.
        birads: BI-RADS category of the image: ``1``, ``2``, ``3``, ``4a``, ``4b``, ``4c``, ``5`` or ``6``.
    """

    number: int
    patient: str
    laterality: str
    view: str
    density: str
    birads: str


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        row: Its number, counted from 1, the header included.
        laterality: ``L`` or ``R``.
        view: ``CC``, ``MLO`` or ``FB``.
        density: ``A`` to ``D``, or empty.
        birads: One of ``ASSESSMENTS``.
    """

    row: int
    laterality: str
    view: str
    density: str
    birads: str


@dataclass(frozen=True)
class DownloadFiles:
    """Where everything is.

    Attributes:
        table: The table that is read.
        images: DICOM file of each image number.
        outlines: XML file of each image number.
        problems: A sentence for each file that cannot be used.
    """

    table: Path
    images: dict[int, Path]
    outlines: dict[int, Path]
    problems: list[str]


def find_files(raw: str | None) -> DownloadFiles:
    """Find the table, the images and the outlines, in whatever folders they lie.

    Raises:
        UserError: The folder, the table, the outlines or all images are missing.
    """
    folder, files = list_download(raw, "INbreast", DOWNLOAD)
    table = next(
        (
            found
            for suffix in _TABLE_SUFFIXES
            if (
                found := only_file(
                    folder,
                    [path for path in files if path.name.lower() == f"inbreast{suffix}"],
                    f"INbreast{suffix}",
                )
            )
        ),
        None,
    )
    if table is None:
        raise UserError(
            f"data.raw: no INbreast.csv or INbreast.xls in '{folder}' or the folders in it "
            f"(found {describe_files(files)}). INbreast is given {DOWNLOAD}."
        )
    problems: list[str] = []
    claims: list[tuple[int, Path]] = []
    for path in files:
        if path.suffix.lower() in (".dcm", ".dicom"):
            match = _IMAGE.fullmatch(path.stem)
            if match is None:
                problems.append(
                    f"{path.relative_to(folder)}: no image name of INbreast "
                    "(20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm); left out."
                )
            else:
                claims.append((int(match["number"]), path))
    images, ambiguous = only_files(folder, claims)
    outlines, others = only_files(
        folder,
        [
            (int(path.stem), path)
            for path in files
            if path.suffix.lower() == ".xml" and re.fullmatch(r"\d{6,9}", path.stem, re.ASCII)
        ],
    )
    if not images:
        raise UserError(
            f"data.raw: no image (AllDICOMs/20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm) in '{folder}' or the "
            f"folders in it. INbreast is given {DOWNLOAD}."
        )
    if not outlines:
        raise UserError(
            f"data.raw: no outlines (AllXML/20586908.xml) in '{folder}' or the folders in it. INbreast is "
            f"given {DOWNLOAD}."
        )
    return DownloadFiles(table, images, outlines, [*problems, *ambiguous, *others])


def read_table(path: Path) -> tuple[dict[int, TableRow], list[str], list[str]]:
    """Read the table.

    Args:
        path: CSV with semicolons, XLS or XLSX.

    Returns:
        The row of each image number; a sentence for each row that cannot be used; and one for each that is
        none, like the workbook's sums.

    Raises:
        UserError: It cannot be read, or lacks a column.
    """
    records, problems = _records(path)
    rows: dict[int, TableRow] = {}
    notes: list[str] = []
    for number, cells in records:
        if not cells["File Name"] and not cells["Laterality"]:
            notes.append(f"{path.name}, row {number}: no image, such as the sums at the end; passed over.")
            continue
        try:
            image, row = _read_row(number, cells)
            if image in rows:
                raise ValueError(f"image {image} is in row {rows[image].row} too")
            rows[image] = row
        except ValueError as error:
            problems.append(f"{path.name}, row {number} ({cells['File Name'][:40]}): {error}; left out.")
    return rows, problems, notes


def _records(path: Path) -> tuple[list[tuple[int, Mapping[str, str]]], list[str]]:
    """Read rows with their numbers.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    if path.suffix.lower() == ".csv":
        rows, problems = read_csv_table(path, COLUMNS, delimiter=";")
        return [(row.number, row.cells) for row in rows], problems
    try:
        read = read_workbook if path.suffix.lower() == ".xlsx" else read_old_workbook
        titles, records = read(path, "Sheet1")
    except UserError:
        raise
    except Exception as error:  # Damaged workbooks make their readers raise almost anything.
        raise UserError(f"{path}: cannot be read as a workbook ({error}). Get the file anew.") from error
    # The workbook spells some titles in other cases, and with spaces at their ends.
    spelled = {title.strip().lower(): title for title in titles}
    missing = [column for column in COLUMNS if column.lower() not in spelled]
    if missing:
        raise UserError(f"{path}: no column '{missing[0]}'; found {', '.join(titles)[:200] or 'nothing'}.")
    return [
        (number, {column: record[spelled[column.lower()]].strip() for column in COLUMNS})
        for number, record in enumerate(records, start=2)
    ], []


def _read_row(number: int, cells: Mapping[str, str]) -> tuple[int, TableRow]:
    """Read a row.

    Raises:
        ValueError: Says what of it is wrong.
    """
    if not re.fullmatch(r"\d{6,9}", cells["File Name"], re.ASCII):
        raise ValueError(f"File Name is {cells['File Name'][:40]!r}, expected a number")
    for column, expected in (("Laterality", ("L", "R")), ("View", ("CC", "MLO", "FB"))):
        if cells[column].upper() not in expected:
            raise ValueError(f"{column} is {cells[column][:40]!r}, expected {' or '.join(expected)}")
    birads = cells["Bi-Rads"].lower().replace(" ", "")
    if birads not in ASSESSMENTS:
        raise ValueError(f"Bi-Rads is {cells['Bi-Rads'][:40]!r}, expected {', '.join(ASSESSMENTS)}")
    row = TableRow(
        number,
        cells["Laterality"].upper(),
        cells["View"].upper(),
        _DENSITIES.get(cells["ACR"], ""),
        birads,
    )
    return int(cells["File Name"]), row


def join_name(number: int, path: Path, row: TableRow) -> CaseImage:
    """Check an image's name against its row.

    Raises:
        ValueError: They contradict each other.
    """
    match = _IMAGE.fullmatch(path.stem)
    assert match is not None
    view = {"ML": "MLO"}.get(match["view"].upper(), match["view"].upper())
    for what, named, told in (
        ("side", match["side"].upper(), row.laterality),
        ("view", view, row.view),
    ):
        if named != told:
            raise ValueError(f"its {what} is {named} in its name and {told} in row {row.row} of the table")
    return CaseImage(number, match["patient"].lower(), row.laterality, row.view, row.density, row.birads)


def images_of(files: DownloadFiles, rows: Mapping[int, TableRow]) -> tuple[list[CaseImage], Sequence[str]]:
    """Join the images with the table, in the order of their numbers.

    Returns:
        The images, and a sentence for each that cannot be used or is missing.
    """
    images: list[CaseImage] = []
    problems: list[str] = []
    for number in sorted({*files.images, *rows, *files.outlines}):
        path, row = files.images.get(number), rows.get(number)
        if path is None:
            what = f"row {row.row} of the table" if row else f"the outlines {files.outlines[number].name}"
            problems.append(f"{number}: {what}, but no image in the download; left out.")
        elif row is None:
            problems.append(f"{path.name}: no usable row in the table; left out.")
        else:
            try:
                images.append(join_name(number, path, row))
            except ValueError as error:
                problems.append(f"{path.name}: {error}; left out.")
    return images, problems
