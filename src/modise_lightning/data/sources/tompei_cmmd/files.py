"""Finds CMMD's images and TOMPEI's outlines and workbook in a download."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom

from modise_lightning.data.preparation.download import describe_files, list_download, only_file, only_files
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

URL = "https://www.cancerimagingarchive.net/analysis-result/tompei-cmmd/"
DOWNLOAD = f"The Cancer Imaging Archive, {URL}, and the images of CMMD"
PATIENT = re.compile(r"D[12]-\d{4}")
_OUTLINES = re.compile(rf"({PATIENT.pattern})_(MLO|CC)_([LR])_AnnotationFile\.json", re.IGNORECASE)
_WORKBOOK = re.compile(r"tompei-cmmd.*\.xlsx", re.IGNORECASE)
_HEADER_THREADS = 8  # a header is a few kilobytes of a file that may lie on a slow disk
# CMMD's files say the view in words only (SNOMED's, in ViewCodeSequence).
_VIEWS = {"medio-lateral oblique": "MLO", "cranio-caudal": "CC"}


@dataclass(frozen=True, order=True)
class BreastView:
    """An image: a patient's breast in a view.

    Attributes:
        patient: As CMMD writes it, such as ``D1-0001``.
        view: ``MLO`` or ``CC``.
        side: ``L`` or ``R``.
    """

    patient: str
    view: str
    side: str

    @property
    def name(self) -> str:
        """Its name in TOMPEI's files."""
        return f"{self.patient}_{self.view}_{self.side}"


@dataclass(frozen=True)
class DownloadFiles:
    """Where everything is.

    Attributes:
        workbook: TOMPEI's.
        outlines: JSON file of each image.
        images: DICOM file of each image, by what its header says.
        problems: A sentence for each file that cannot be used.
    """

    workbook: Path
    outlines: dict[BreastView, Path]
    images: dict[BreastView, Path]
    problems: list[str]


def find_files(raw: str | None) -> DownloadFiles:
    """Find the workbook, the outlines and the images, in whatever folders they lie.

    Raises:
        UserError: The folder, the workbook, all outlines or all images are missing.
    """
    folder, files = list_download(raw, "TOMPEI-CMMD", DOWNLOAD)
    found = [path for path in files if _WORKBOOK.fullmatch(path.name)]
    workbook = only_file(folder, found, "TOMPEI-CMMD's workbook")
    if workbook is None:
        raise UserError(
            f"data.raw: no TOMPEI-CMMD_clinical_data_....xlsx in '{folder}' or the folders in it (found "
            f"{describe_files(files)}). Download it ({DOWNLOAD})."
        )
    problems: list[str] = []
    claims: list[tuple[BreastView, Path]] = []
    for path in files:
        if path.suffix.lower() != ".json":
            continue
        match = _OUTLINES.fullmatch(path.name)
        if match is None:
            problems.append(
                f"{path.relative_to(folder)}: no outlines' name (D1-0001_MLO_L_AnnotationFile.json); "
                "left out."
            )
        else:
            claims.append((BreastView(match[1].upper(), match[2].upper(), match[3].upper()), path))
    outlines, ambiguous = only_files(folder, claims)
    if not outlines:
        raise UserError(
            f"data.raw: no outlines (D1-0001_MLO_L_AnnotationFile.json) in '{folder}' or the folders in it. "
            f"Download them ({DOWNLOAD})."
        )
    images, unknown = _images(folder, [path for path in files if path.suffix.lower() in (".dcm", ".dicom")])
    if not images:
        raise UserError(
            f"data.raw: no image of CMMD (.dcm) in '{folder}' or the folders in it. Download them "
            f"({DOWNLOAD})."
        )
    return DownloadFiles(workbook, outlines, images, [*problems, *ambiguous, *unknown])


def _images(folder: Path, paths: Sequence[Path]) -> tuple[dict[BreastView, Path], list[str]]:
    """Sort images by what their headers say."""
    claims: list[tuple[BreastView, Path]] = []
    problems: list[str] = []
    with ThreadPoolExecutor(_HEADER_THREADS) as executor:
        for path, found in zip(paths, executor.map(_read_header, paths), strict=True):
            if isinstance(found, str):
                problems.append(f"{path.relative_to(folder)}: {found}; left out.")
            else:
                claims.append((found, path))
    images, ambiguous = only_files(folder, claims)
    return images, [*problems, *ambiguous]


def _read_header(path: Path) -> BreastView | str:
    """Read which image a file is, or say why it is not known."""
    try:
        header = pydicom.dcmread(
            check_regular(path),
            stop_before_pixels=True,
            specific_tags=["PatientID", "ImageLaterality", "ViewCodeSequence"],
        )
        patient = str(header.get("PatientID", "")).strip().upper()
        side = str(header.get("ImageLaterality", "")).strip().upper()
        views = header.get("ViewCodeSequence") or []
        meaning = str(views[0].get("CodeMeaning", "")).strip().lower() if len(views) else ""
    except Exception as error:  # Damaged files make pydicom raise almost anything.
        return f"no readable DICOM ({' '.join(str(error).split()) or type(error).__name__})"
    if not PATIENT.fullmatch(patient) or side not in ("L", "R") or meaning not in _VIEWS:
        return f"its header names no image of CMMD ({patient[:20]!r}, {side[:5]!r}, {meaning[:40]!r})"
    return BreastView(patient, _VIEWS[meaning], side)
