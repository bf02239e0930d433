"""Writes small VinDr-Mammo downloads: real DICOM files and CSV tables with the quirks of the release."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

FINDINGS, BREASTS, METADATA = "finding_annotations.csv", "breast-level_annotations.csv", "metadata.csv"
HEADER = [
    "study_id",
    "series_id",
    "image_id",
    "laterality",
    "view_position",
    "height",
    "width",
    "breast_birads",
    "breast_density",
    "finding_categories",
    "finding_birads",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "split",
]
SIZE = (150, 110)  # height, width
CENTER, WIDTH = 2000, 3000  # the window


def identity(number: int) -> str:
    """Give an id as the release has them: 32 hexadecimal digits."""
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def image_path(raw: Path, study: int, image: int) -> Path:
    return raw / "images" / identity(100 + study) / f"{identity(image)}.dicom"


def breast(lesions: Sequence[tuple[int, int, int]], seed: int) -> NDArray[np.uint16]:
    """Draw bright discs (x, y, radius) on noisy tissue, 12 bit."""
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(SIZE)
    values = 1200 + 60 * generator.standard_normal(SIZE)
    for x, y, radius in lesions:
        values[np.hypot(columns - x, rows - y) < radius] += 1500
    return np.asarray(values.clip(0, 4095), dtype=np.uint16)


def make_dicom(stored: NDArray[Any], **elements: object) -> Dataset:
    """Make a mammogram as the release has them, 12 bits in 16 with several windows."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"  # the release has a dummy too
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Manufacturer = "SIEMENS"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = stored.itemsize * 8
    dataset.BitsStored = 12 if stored.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = [CENTER, 1800], [WIDTH, 900]
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def write_dicom(path: Path, dataset: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def windowed(stored: NDArray[Any]) -> NDArray[np.float64]:
    """Apply the first window by DICOM's formula (PS3.3 C.11.2.1.2.1), to [0, 1]."""
    return np.asarray(((stored - (CENTER - 0.5)) / (WIDTH - 1) + 0.5).clip(0, 1))


def row(
    study: int,
    image: int,
    box: Sequence[float] = (),
    birads: str = "",
    categories: str = "['No Finding']",
    split: str = "training",
) -> list[str]:
    """Write a row of the table of findings."""
    return [
        identity(100 + study),
        identity(200 + study),
        identity(image),
        "L" if image % 2 else "R",
        "MLO" if image % 3 else "CC",
        str(SIZE[0]),
        str(SIZE[1]),
        "BI-RADS 4" if box else "BI-RADS 1",
        "DENSITY C",
        categories,
        birads,
        *([str(value) for value in box] or [""] * 4),
        split,
    ]


def write_tables(raw: Path, rows: Sequence[Sequence[str]]) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    write_csv(raw / FINDINGS, [HEADER, *rows])
    images = list(dict.fromkeys((*cells[:9], cells[-1]) for cells in rows))
    write_csv(raw / BREASTS, [[*HEADER[:9], "split"], *images])
    tags = ["SOP Instance UID", "Window Center", "Window Width", "SOP Instance UID"]
    write_csv(
        raw / METADATA, [tags, *([cells[2], "[2000, 1800]", "[3000, 900]", cells[2]] for cells in images)]
    )


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_download(raw: Path) -> None:
    """Write five studies: boxes of every kind, and images without any."""
    mass, calcification = "['Mass']", "['Suspicious Calcification', 'Mass']"
    write_tables(
        raw,
        [
            row(1, 1, (20.5, 30.25, 60.75, 70.5), "BI-RADS 4", mass),
            row(1, 2),
            # Beyond the border, and a lymph node that no one assessed.
            row(2, 3, (-8.4, 60, 32, 100), "BI-RADS 3", "['Focal Asymmetry']"),
            row(2, 3, (60, 20, 100, 60), "", "['Suspicious Lymph Node']"),
            # A small one inside a large one, and a repetition.
            row(3, 4, (10, 20, 90, 120), "BI-RADS 5", mass, "test"),
            row(3, 4, (40, 60, 64, 84), "BI-RADS 4", calcification, "test"),
            row(3, 4, (40, 60, 64, 84), "BI-RADS 4", calcification, "test"),
            row(4, 5, (30, 90, 70, 130), "BI-RADS 3", "['Architectural Distortion']"),
            row(4, 6, (70, 90, 108, 131), "BI-RADS 4", mass),
            row(5, 7, (20, 20, 30, 30), "", "['Skin Thickening']"),
            row(6, 8, (15, 15, 55, 55), "BI-RADS 5", mass, "test"),
        ],
    )
    pictures = {
        (1, 1): make_dicom(breast([(40, 50, 15)], 1)),
        (1, 2): make_dicom(breast([], 2)),
        (2, 3): make_dicom(breast([(12, 80, 15), (80, 40, 15)], 3), Manufacturer="PLANMED"),
        (3, 4): make_dicom(breast([(50, 70, 36)], 4) + np.uint16(800) * (breast([(52, 72, 9)], 4) > 2000)),
        # A vendor that stores white as 0.
        (4, 5): make_dicom(4095 - breast([(50, 110, 15)], 5), PhotometricInterpretation="MONOCHROME1"),
        (4, 6): make_dicom(
            (breast([(90, 110, 15)], 6) // 16).astype(np.uint8), WindowCenter=125, WindowWidth=188
        ),
        (5, 7): make_dicom(breast([], 7)),
        (6, 8): make_dicom(breast([(35, 35, 15)], 8)),
    }
    for (study, image), dataset in pictures.items():
        write_dicom(image_path(raw, study, image), dataset)
