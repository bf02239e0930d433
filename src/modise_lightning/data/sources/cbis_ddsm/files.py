"""Finds the files of each series in a CBIS-DDSM download, in whichever of its layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom

from modise_lightning.data.preparation.csv_table import read_csv_table
from modise_lightning.data.preparation.download import describe_files, list_download, only_file
from modise_lightning.data.sources.cbis_ddsm.tables import TABLES
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

URL = "https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY"
DOWNLOAD = f"The Cancer Imaging Archive, {URL}"
INFO_NAME = "dicom_info.csv"
_DICOM_SUFFIXES = (".dcm", ".dicom")
_JPEG_SUFFIXES = (".jpg", ".jpeg")
_UID = re.compile(r"\d+(\.\d+){5,}")
_HEADER_THREADS = 8  # a header is a few kilobytes of a file that may lie on a slow disk


@dataclass(frozen=True)
class DownloadFiles:
    """Where everything is.

    Attributes:
        raw: The download's folder.
        tables: File of each table that is there, by its name in the archive.
        series: The images of each series UID, DICOM or JPEG.
        problems: A sentence for each file that is missing or cannot be used.
    """

    raw: Path
    tables: dict[str, Path]
    series: dict[str, list[Path]]
    problems: list[str]


def find_files(raw: str | None) -> DownloadFiles:
    """Find tables and images.

    A file belongs to the series that its folder is named after: the archive's folders by UID, and those of
    the JPEGs that are passed around. The archive's newer folders have descriptive names; there each file's
    header says which series it is of.

    Args:
        raw: The download's folder.

    Returns:
        Where everything is.

    Raises:
        UserError: The folder, all tables or all images are missing; says what was looked for and where.
    """
    folder, files = list_download(raw, "CBIS-DDSM", DOWNLOAD)
    tables: dict[str, Path] = {}
    problems: list[str] = []
    for name in TABLES:
        path = only_file(folder, [path for path in files if path.name.lower() == name], name)
        if path is None:
            problems.append(f"no {name} in '{folder}' or the folders in it; its images are left out.")
        else:
            tables[name] = path
    if not tables:
        raise UserError(
            f"data.raw: no {' or '.join(TABLES)} in '{folder}' or the folders in it "
            f"(found {describe_files(files)}). Download the tables of CBIS-DDSM ({DOWNLOAD})."
        )
    images = [path for path in files if path.suffix.lower() in (*_DICOM_SUFFIXES, *_JPEG_SUFFIXES)]
    if not images:
        raise UserError(
            f"data.raw: no image (.dcm or .jpg) in '{folder}' or the folders in it. "
            f"Download the images of CBIS-DDSM ({DOWNLOAD})."
        )
    info = only_file(folder, [path for path in files if path.name.lower() == INFO_NAME], INFO_NAME)
    known, info_problems = _read_info(info) if info else ({}, [])
    series, unknown = _by_series(folder, images, known)
    return DownloadFiles(folder, tables, series, [*problems, *info_problems, *unknown])


def _read_info(path: Path) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Read which series each JPEG shows, by the names of its folder and of itself.

    Raises:
        UserError: The file cannot be read, or lacks a column.
    """
    rows, problems = read_csv_table(path, ("image_path", "SeriesInstanceUID"))
    known: dict[tuple[str, str], str] = {}
    for row in rows:
        # The path begins with a folder that no download has; only its last two parts are compared with names.
        parts = row.cells["image_path"].replace("\\", "/").split("/")
        uid = row.cells["SeriesInstanceUID"]
        if len(parts) < 2 or ".." in parts or not _UID.fullmatch(uid):
            problems.append(
                f"{path.name}, row {row.number}: {row.cells['image_path'][:80]!r} of series {uid[:70]!r} is "
                "no image in a folder; left out."
            )
        else:
            known[parts[-2], parts[-1]] = uid
    return known, problems


def _by_series(
    folder: Path, images: Iterable[Path], known: Mapping[tuple[str, str], str]
) -> tuple[dict[str, list[Path]], list[str]]:
    """Sort images into series."""
    series: dict[str, list[Path]] = {}
    asked: list[Path] = []
    problems: list[str] = []
    for path in images:
        uid = known.get((path.parent.name, path.name))
        if uid is None and _UID.fullmatch(path.parent.name):
            uid = path.parent.name
        if uid is not None:
            series.setdefault(uid, []).append(path)
        elif path.suffix.lower() in _DICOM_SUFFIXES:
            asked.append(path)
        else:
            problems.append(
                f"{path.relative_to(folder)}: neither its folder nor {INFO_NAME} says which series it is of; "
                "left out."
            )
    with ThreadPoolExecutor(_HEADER_THREADS) as executor:
        for path, found in zip(asked, executor.map(_series_of, asked), strict=True):
            if found is None:
                problems.append(
                    f"{path.relative_to(folder)}: no DICOM with a series UID; left out. Download it again."
                )
            else:
                series.setdefault(found, []).append(path)
    return series, problems


def _series_of(path: Path) -> str | None:
    """Read the series UID in a file's header."""
    try:
        header = pydicom.dcmread(
            check_regular(path), stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
        )
        uid = str(header.get("SeriesInstanceUID", ""))
    except Exception:  # Damaged files make pydicom raise almost anything; the caller names the file.
        return None
    return uid if _UID.fullmatch(uid) else None
