"""Finds and reads what a CDD-CESM download holds besides pixels: names, the sheet, the regions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from modise_lightning.data.preparation.download import describe_files, list_download, only_file, only_files
from modise_lightning.data.preparation.via import ViaRegion, read_via_regions
from modise_lightning.data.preparation.workbook import read_workbook
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

Modality = Literal["low_energy", "subtracted"]

URL = "https://doi.org/10.7937/29kw-ae92"
DOWNLOAD = f"The Cancer Imaging Archive, {URL}"
_MODALITIES: dict[str, Modality] = {"DM": "low_energy", "CM": "subtracted", "CESM": "subtracted"}
# Three images of the release end in MLO2 or MLO_2; CESM is what the sheet calls CM.
_IMAGE_NAME = re.compile(r"P0*(\d{1,9})_([LR])_(DM|CM|CESM)_(CC|MLO)(_?\d{1,3})?", re.IGNORECASE)
_JPEG_SUFFIX = re.compile(r"\s*\.jpe?g$", re.IGNORECASE)
_RELEASE = re.compile(r"v(\d{1,3})$", re.IGNORECASE)
_SHEET_NAME = "radiologymanualannotations"
_REGIONS_NAME = "radiologyhanddrawnsegmentations"


@dataclass(frozen=True, order=True)
class ImageName:
    """What an image's name says of it.

    Attributes:
        patient: Number of the patient.
        stem: The name without spaces at its ends and without suffix, spelled as in the release.
        laterality: ``L`` or ``R``.
        modality: Low-energy or subtracted image.
        view: ``CC`` or ``MLO``.
    """

    patient: int
    stem: str
    laterality: str
    modality: Modality
    view: str

    @property
    def patient_id(self) -> str:
        """The patient as in the names of the images."""
        return f"P{self.patient}"


@dataclass(frozen=True)
class SheetRow:
    """What the radiologists' sheet says of an image.

    Attributes:
        row: Row of the sheet, counted from 1, the header included.
        classification: ``normal``, ``benign`` or ``malignant``.
        attributes: BI-RADS category, density and findings, as far as they are given.
    """

    row: int
    classification: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class DownloadFiles:
    """Where everything is.

    Attributes:
        raw: The download's folder.
        sheet: The radiologists' sheet, XLSX or CSV.
        regions: The VIA export.
        images: File of each image.
        problems: A sentence for each file that cannot be used.
    """

    raw: Path
    sheet: Path
    regions: Path
    images: dict[ImageName, Path]
    problems: list[str]


def parse_image_name(text: str) -> ImageName | None:
    """Read an image's name, with or without ``.jpg`` and stray spaces; None if it is none."""
    match = _IMAGE_NAME.fullmatch(_JPEG_SUFFIX.sub("", text.strip()).strip())
    if match is None:
        return None
    patient, laterality, kind, view, suffix = match.groups(default="")
    modality = _MODALITIES[kind.upper()]
    code = "DM" if modality == "low_energy" else "CM"
    stem = f"P{patient}_{laterality.upper()}_{code}_{view.upper()}{suffix}"
    return ImageName(int(patient), stem, laterality.upper(), modality, view.upper())


def find_files(raw: str | None) -> DownloadFiles:
    """Find the tables and the images, in whatever folders they lie below the download's folder.

    Args:
        raw: The download's folder.

    Returns:
        Where everything is.

    Raises:
        UserError: The folder, a table or all images are missing; says what was looked for and where.
    """
    folder, files = list_download(raw, "CDD-CESM", DOWNLOAD)
    sheet = _find_table(
        folder, files, _SHEET_NAME, (".xlsx", ".csv"), "Radiology manual annotations.xlsx (or .csv)"
    )
    regions = _find_table(
        folder, files, _REGIONS_NAME, (".csv",), "Radiology_hand_drawn_segmentations_v2.csv"
    )
    claims: list[tuple[ImageName, Path]] = []
    problems = []
    for path in files:
        if not _JPEG_SUFFIX.search(path.name):
            continue
        name = parse_image_name(path.name)
        if name is None:
            problems.append(
                f"{path.relative_to(folder)}: no image name of CDD-CESM (P1_L_DM_MLO.jpg); left out."
            )
        else:
            claims.append((name, path))
    images, ambiguous = only_files(folder, claims)
    problems += ambiguous
    if not images:
        raise UserError(
            f"data.raw: no image (P<patient>_<L|R>_<DM|CM>_<CC|MLO>.jpg) in '{folder}' or the folders in it. "
            f"Download the images of CDD-CESM ({DOWNLOAD})."
        )
    return DownloadFiles(folder, sheet, regions, images, problems)


def read_sheet(path: Path) -> tuple[dict[ImageName, SheetRow], list[str]]:
    """Read the radiologists' sheet.

    Args:
        path: XLSX (its sheet ``all``, or the first one) or CSV.

    Returns:
        The row of each image, and a sentence for each row that cannot be used.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    titles, records = _read_table(path)
    columns = {re.sub(r"[^a-z]", "", title.lower()): title for title in titles}
    required = {}
    for key, title in (
        ("imagename", "Image_name"),
        ("pathologyclassification", "Pathology Classification/ Follow up"),
    ):
        found = next((columns[column] for column in columns if column.startswith(key)), None)
        if found is None:
            raise UserError(f"{path}: no column '{title}'; found {', '.join(titles)[:200]}.")
        required[key] = found
    optional = {"birads": "birads", "breastdensityacr": "density", "findings": "findings"}
    rows: dict[ImageName, SheetRow] = {}
    contradicted: set[ImageName] = set()
    problems = []
    for number, record in enumerate(records, start=2):
        text = str(record[required["imagename"]])
        classification = str(record[required["pathologyclassification"]]).strip().lower()
        if not text.strip() and not classification:
            continue
        name = parse_image_name(text)
        if name is None:
            problems.append(f"{path.name}, row {number}: {text.strip()!r} is no image name; left out.")
            continue
        values = {
            attribute: str(record[columns[key]]).strip()
            for key, attribute in optional.items()
            if key in columns
        }
        attributes = {attribute: value for attribute, value in values.items() if value not in ("", "_")}
        if name in rows and rows[name].classification != classification:
            contradicted.add(name)
            problems.append(
                f"{path.name}, row {number}: {name.stem} is {classification!r} here and "
                f"{rows[name].classification!r} in row {rows[name].row}; left out."
            )
        rows.setdefault(name, SheetRow(number, classification, attributes))
    return {name: row for name, row in rows.items() if name not in contradicted}, problems


def read_regions(path: Path) -> tuple[dict[ImageName, list[ViaRegion]], list[str]]:
    """Read the outlined regions.

    Args:
        path: The VIA export.

    Returns:
        The regions of each image, in the order of the file, and a sentence for each row that cannot be used.

    Raises:
        UserError: The file cannot be read, or is no VIA export.
    """
    regions, problems = read_via_regions(path)
    of_image: dict[ImageName, list[ViaRegion]] = {}
    for region in regions:
        name = parse_image_name(region.file_name)
        if name is None:
            problems.append(
                f"{path.name}, row {region.row}: {region.file_name!r} is no image name; left out."
            )
        else:
            of_image.setdefault(name, []).append(region)
    return of_image, problems


def _find_table(folder: Path, files: list[Path], name: str, suffixes: tuple[str, ...], shown: str) -> Path:
    """Find a table by the letters of its name; downloads spell it with spaces, hyphens or underscores."""
    found = [
        path
        for path in files
        if path.suffix.lower() in suffixes and re.sub(r"[^a-z]", "", path.stem.lower()).startswith(name)
    ]
    newest = max((_release(path) for path in found), default=1)
    table = only_file(folder, [path for path in found if _release(path) == newest], shown)
    if table is not None:
        return table
    raise UserError(
        f"data.raw: no {shown} in '{folder}' or the folders in it (found {describe_files(files)}). "
        f"Download the annotations of CDD-CESM ({DOWNLOAD})."
    )


def _release(path: Path) -> int:
    """Read the release from a name; the regions' second one ends in ``_v2``, the first one has no number."""
    match = _RELEASE.search(path.stem)
    return int(match[1]) if match else 1


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read titles and rows."""
    try:
        check_regular(path)
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            titles = [str(title) for title in table.columns]
            return titles, [dict(zip(titles, row, strict=True)) for row in table.itertuples(index=False)]
        return read_workbook(path, preferred_sheet="all")
    except UserError:
        raise
    except Exception as error:  # Damaged workbooks make zipfile, zlib and openpyxl raise almost anything.
        raise UserError(f"{path}: cannot be read as a sheet ({error}). Get the file anew.") from error
