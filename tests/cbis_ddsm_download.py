"""Writes small CBIS-DDSM downloads in the release's layouts: by UID, with descriptive names, and as JPEG."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SIZE = (240, 180)  # height and width of a mammogram
Layout = Literal["uid", "described", "jpeg"]
_COMMON = ["left or right breast", "image view", "abnormality id", "abnormality type"]
_END = [
    "assessment",
    "pathology",
    "subtlety",
    "image file path",
    "cropped image file path",
    "ROI mask file path",
]
HEADERS = {
    "mass": ["patient_id", "breast_density", *_COMMON, "mass shape", "mass margins", *_END],
    "calcification": ["patient_id", "breast density", *_COMMON, "calc type", "calc distribution", *_END],
}
TABLE_NAMES = {
    (kind, split): f"{short}_case_description_{part}_set.csv"
    for kind, short in (("mass", "mass"), ("calcification", "calc"))
    for split, part in (("training", "train"), ("test", "test"))
}


@dataclass(frozen=True)
class Row:
    """An abnormality.

    Attributes:
        disc: Its place: x, y and radius.
        mask_size: Height and width of its mask.
        mask_name: Its mask's file in the tables; the crop has the other name, or the same in its own series.
        two_series: Whether mask and crop are in a series each.
        swapped: Whether the columns of mask and crop are wrong.
    """

    kind: str
    split: str
    patient: int
    side: str = "LEFT"
    view: str = "CC"
    number: int = 1
    pathology: str = "MALIGNANT"
    assessment: str = "4"
    density: str = "2"
    disc: tuple[int, int, int] = (60, 120, 15)
    mask_size: tuple[int, int] = SIZE
    mask_name: str = "000001.dcm"
    two_series: bool = False
    swapped: bool = False

    @property
    def image(self) -> str:
        """The archive's folder of the mammogram."""
        kind, part = ("Mass" if self.kind == "mass" else "Calc"), self.split.capitalize()
        return f"{kind}-{part}_P_{self.patient:05d}_{self.side}_{self.view}"

    @property
    def case(self) -> str:
        """That of the mask and of the crop."""
        return f"{self.image}_{self.number}"

    @property
    def crop_name(self) -> str:
        if self.two_series:
            return "000000.dcm"
        return "000000.dcm" if self.mask_name == "000001.dcm" else "000001.dcm"


def uid(*parts: object) -> str:
    """Give a UID with the release's root."""
    number = int(hashlib.sha256(repr(parts).encode()).hexdigest(), 16) % 10**38
    return f"1.3.6.1.4.1.9590.100.1.2.{10**38 + number}"


def paths(row: Row) -> tuple[str, str, str]:
    """Give the table's three paths: image, crop and mask."""
    image = f"{row.image}/{uid(row.image)}/{uid(row.image, 'series')}/000000.dcm"
    mask_series = uid(row.case, "mask" if row.two_series else "series")
    crop_series = uid(row.case, "crop") if row.two_series else mask_series
    mask = f"{row.case}/{uid(row.case)}/{mask_series}/{row.mask_name}"
    crop = f"{row.case}/{uid(row.case, 'crop' if row.two_series else '')}/{crop_series}/{row.crop_name}"
    if not row.two_series:
        crop = f"{row.case}/{uid(row.case)}/{crop_series}/{row.crop_name}"
    return (image, mask, crop) if row.swapped else (image, crop, mask)


def write_tables(folder: Path, rows: Sequence[Row], end: str = "\n") -> None:
    """Write the four tables, the last fields of most rows with a line break inside, as in the release."""
    folder.mkdir(parents=True, exist_ok=True)
    for (kind, split), name in TABLE_NAMES.items():
        cells: list[list[str]] = [HEADERS[kind]]
        for row in rows:
            if (row.kind, row.split) == (kind, split):
                image, crop, mask = paths(row)
                middle = [row.side, row.view, str(row.number), row.kind, "OVAL", "NA", row.assessment]
                last = [row.pathology, "3", image, crop, f"{mask}{end}"]
                cells.append([f"P_{row.patient:05d}", row.density, *middle, *last])
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(cells)


def film(discs: Sequence[tuple[int, int, int]], seed: int) -> NDArray[np.uint16]:
    """Draw a breast with bright discs (x, y, radius) on grey film, with a white label and a border."""
    rows, columns = np.indices(SIZE)
    values = 6000 + 200 * np.random.default_rng(seed).standard_normal(SIZE)
    inside = np.hypot((rows - SIZE[0] / 2) / (0.45 * SIZE[0]), columns / (0.75 * SIZE[1])) < 1
    values[inside] += 14000
    for x, y, radius in discs:
        values[np.hypot(columns - x, rows - y) < radius] += 15000
    values[8:30, SIZE[1] - 40 : SIZE[1] - 6] = 65535
    values[:4] = 65535
    return np.asarray(values.clip(0, 65535), dtype=np.uint16)


def disc_mask(row: Row) -> NDArray[np.uint8]:
    """Draw the mask, scaled to its own size."""
    rows, columns = np.indices(row.mask_size)
    scale = row.mask_size[0] / SIZE[0], row.mask_size[1] / SIZE[1]
    x, y, radius = row.disc
    inside = np.hypot(columns / scale[1] - x, rows / scale[0] - y) < radius
    return np.asarray(255 * inside, dtype=np.uint8)


def cropped(picture: NDArray[np.uint16], row: Row) -> NDArray[np.uint16]:
    x, y, radius = row.disc
    top, left = max(0, y - radius), max(0, x - radius)
    return np.ascontiguousarray(picture[top : y + radius, left : x + radius])


def make_dicom(stored: NDArray[Any], **elements: object) -> Dataset:
    """Make a scan as the release has them: 16 or 8 bits, no window."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Modality, dataset.ConversionType = "MG", "WSD"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    data = stored.tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def write_dicom(path: Path, stored: NDArray[Any], **elements: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, make_dicom(stored, **elements), enforce_file_format=True)
    return path


def place(raw: Path, path: str, description: str, layout: Layout) -> Path:
    """Give where a download has what the table calls ``path``."""
    case, study, series, name = path.split("/")
    if layout == "uid":
        return raw / "CBIS-DDSM" / path
    number = int(name[:6]) + 1
    if layout == "jpeg":
        return raw / "jpeg" / series / f"{number}-{int(series[-3:]):03d}.jpg"
    return (
        raw
        / "CBIS-DDSM"
        / case
        / f"08-29-2017-DDSM-NA-{study[-5:]}"
        / f"1.000000-{description}-{series[-5:]}"
        / f"1-{number}.dcm"
    )


def write_download(raw: Path, rows: Sequence[Row], layout: Layout = "uid") -> dict[str, Path]:
    """Write tables and images; give the file of each image, mask (CASE) and crop (CASE crop)."""
    written: dict[str, Path] = {}
    info: list[list[str]] = [
        ["file_path", "image_path", "PatientID", "SeriesDescription", "SeriesInstanceUID"]
    ]

    def write(name: str, path: str, stored: NDArray[Any], description: str) -> None:
        file = place(raw, path, description, layout)
        case, study, series, _ = path.split("/")
        if layout == "jpeg":
            file.parent.mkdir(parents=True, exist_ok=True)
            picture = (stored // 257).astype(np.uint8) if stored.itemsize == 2 else stored
            cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            shown = f"CBIS-DDSM/jpeg/{series}/{file.name}"
            info.append([shown.replace("jpeg", "dicom"), shown, case, description, series])
        else:
            identity = {"PatientID": case, "StudyInstanceUID": study, "SeriesInstanceUID": series}
            write_dicom(file, stored, **identity, SeriesDescription=description)
        written[name] = file

    for row in rows:
        same = [other for other in rows if other.image == row.image]
        picture = film([other.disc for other in same], row.patient)
        image, *others = paths(row)
        crop, mask = others[::-1] if row.swapped else others
        if row.image not in written:
            write(row.image, image, picture, "full mammogram images")
        write(row.case, mask, disc_mask(row), "ROI mask images")
        # The release calls both of a series' files by one name.
        kind = "cropped images" if row.two_series else "ROI mask images"
        write(f"{row.case} crop", crop, cropped(picture, row), kind)
    tables = raw / "csv" if layout == "jpeg" else raw
    write_tables(tables, rows)
    if layout == "jpeg":
        with (tables / "dicom_info.csv").open("w", newline="") as file:
            csv.writer(file).writerows(info)
    return written


ROWS = [
    Row("mass", "training", 1, number=1, disc=(50, 120, 15)),
    # Two abnormalities of an image, of both classes.
    Row("mass", "training", 1, number=2, disc=(90, 160, 9), pathology="BENIGN", assessment="3"),
    # The columns of mask and crop are swapped, and the file names are the other way round.
    Row("mass", "training", 2, view="MLO", mask_name="000000.dcm", swapped=True, density="0"),
    # A mask in a series of its own, and of another size.
    Row("mass", "test", 3, two_series=True, mask_name="000000.dcm", mask_size=(209, 157)),
    # The same view in another table: a second image series. The patient is in both parts of the split.
    Row("calcification", "training", 3, mask_name="000000.dcm", pathology="BENIGN_WITHOUT_CALLBACK"),
    Row("calcification", "training", 4, side="RIGHT", mask_name="000000.dcm", assessment="1"),
    Row("calcification", "test", 5, side="RIGHT", view="MLO", pathology="BENIGN", assessment="0"),
    Row("calcification", "test", 6, mask_name="000000.dcm", pathology="BENIGN", assessment="5"),
]
