"""Finds what a VinDr-Mammo download holds: the tables and the DICOM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modise_lightning.data.preparation.download import describe_files, list_download, only_file, only_files
from modise_lightning.errors import UserError

URL = "https://physionet.org/content/vindr-mammo/1.0.0/"
DOWNLOAD = f"PhysioNet, {URL}; credentialed access"
FINDINGS_NAME = "finding_annotations.csv"
BREASTS_NAME = "breast-level_annotations.csv"
_IMAGE_SUFFIXES = (".dicom", ".dcm")


@dataclass(frozen=True)
class DownloadFiles:
    """Where everything is.

    Attributes:
        raw: The download's folder.
        findings: The table of findings with their boxes.
        breasts: The table of images and breasts; None if it is missing.
        images: File of each image id.
        problems: A sentence for each file that is missing or cannot be used.
    """

    raw: Path
    findings: Path
    breasts: Path | None
    images: dict[str, Path]
    problems: list[str]


def find_files(raw: str | None) -> DownloadFiles:
    """Find the tables and the images, in whatever folders they lie below the download's folder.

    Args:
        raw: The download's folder.

    Returns:
        Where everything is.

    Raises:
        UserError: The folder, the table of findings or all images are missing; says what was looked for and
            where.
    """
    folder, files = list_download(raw, "VinDr-Mammo", DOWNLOAD)
    findings = _find_table(folder, files, FINDINGS_NAME)
    if findings is None:
        raise UserError(
            f"data.raw: no {FINDINGS_NAME} in '{folder}' or the folders in it "
            f"(found {describe_files(files)}). Download the tables of VinDr-Mammo ({DOWNLOAD})."
        )
    problems = []
    breasts = _find_table(folder, files, BREASTS_NAME)
    if breasts is None:
        problems.append(
            f"no {BREASTS_NAME} in '{folder}' or the folders in it; the images are not checked against it."
        )
    claims = ((path.stem, path) for path in files if path.suffix.lower() in _IMAGE_SUFFIXES)
    images, ambiguous = only_files(folder, claims)
    problems += ambiguous
    if not images:
        raise UserError(
            f"data.raw: no image (images/<study_id>/<image_id>.dicom) in '{folder}' or the folders in it. "
            f"Download the images of VinDr-Mammo ({DOWNLOAD})."
        )
    return DownloadFiles(folder, findings, breasts, images, problems)


def _find_table(folder: Path, files: list[Path], name: str) -> Path | None:
    return only_file(folder, [path for path in files if path.name.lower() == name], name)
