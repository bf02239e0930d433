"""Preparation of CBIS-DDSM: images a second, peak memory and busy cores, for DICOM files of the real size.

Run ``python benchmarks/prepare_cbis_ddsm.py``. It writes synthetic films of 5200 x 3000 pixels, 16 bits, with
a mask and a crop each, prepares few and many of them with all cores, and prints a table. With
``--tables FOLDER`` it prepares small films under the names, and with the abnormalities, of the real tables
in that folder.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from modise_lightning.cores import available_cores
from modise_lightning.data.preparation.report import PreparationReport, render
from modise_lightning.data.sources.cbis_ddsm.preparer import CbisDdsmPreparer
from modise_lightning.data.sources.cbis_ddsm.selection import NAMES
from modise_lightning.data.sources.cbis_ddsm.tables import TABLES
from prepare_vindr_mammo import ProcessTreeSampler

SIZE, SMALL = (5200, 3000), (104, 60)  # height and width of a film, and of those for the published tables
HEADER = (
    "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,"
    "mass margins,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path\n"
)
PATHS = ("image file path", "cropped image file path", "ROI mask file path")


def write_dicom(path: Path, stored: np.ndarray) -> Path:
    """Write a scan without a window."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = stored.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def write_pictures(folder: Path, size: tuple[int, int], lesions: int) -> tuple[Path, Path, list[Path]]:
    """Write a film with a label, a crop, and masks that do not overlap."""
    height, width = size
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:height, :width]
    breast = np.hypot((rows - height / 2) / (height * 0.45), columns / (width * 0.7)) < 1
    noise = generator.normal(0, 400, size).astype(np.float32)
    film = np.where(breast, 30000 + 10 * noise, 5000 + noise)
    film[height // 20 : height // 8, -width // 4 : -width // 20] = 65535
    pixels = film.clip(0, 65535).astype(np.uint16)
    masks = []
    for number in range(lesions):
        center = height * (number + 1) / (lesions + 1), width * 0.3
        inside = np.hypot(rows - center[0], columns - center[1]) < height / (4 * lesions + 20)
        masks.append(write_dicom(folder / f"mask{number}.dcm", np.where(inside, 255, 0).astype(np.uint8)))
    crop = np.ascontiguousarray(pixels[height // 2 : height // 2 + height // 10, : width // 6])
    return write_dicom(folder / "film.dcm", pixels), write_dicom(folder / "crop.dcm", crop), masks


def place(source: Path, path: Path) -> None:
    """Link a file: the disk's cache, not the disk, is what a benchmark of the code should read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(source)


def write_download(raw: Path, num_images: int) -> None:
    """Write a table with a mass an image, and its files."""
    film, crop, (mask,) = write_pictures(raw.parent / "pictures", SIZE, 1)
    lines = []
    for number in range(num_images):
        folder = f"Mass-Training_P_{number:05d}_LEFT_CC"
        image = f"{folder}/1.2.3.4.5.6.{number}/1.2.3.4.5.7.{number}/000000.dcm"
        case = f"{folder}_1/1.2.3.4.5.8.{number}/1.2.3.4.5.9.{number}"
        for source, path in ((film, image), (crop, f"{case}/000000.dcm"), (mask, f"{case}/000001.dcm")):
            place(source, raw / path)
        pathology = ("BENIGN", "MALIGNANT")[number % 2]
        lines.append(
            f"P_{number:05d},2,LEFT,CC,1,mass,OVAL,NA,4,{pathology},3,{image},{case}/000000.dcm,"
            f'"{case}/000001.dcm\n"\n'
        )
    (raw / "mass_case_description_train_set.csv").write_text(HEADER + "".join(lines))


def write_published(raw: Path, tables: Path) -> None:
    """Write the published tables with small films; the abnormalities of an image do not overlap."""
    film, crop, masks = write_pictures(raw.parent / "pictures", SMALL, 7)
    raw.mkdir()
    for name in TABLES:
        shutil.copy(tables / name, raw / name)
        with (raw / name).open(newline="") as file:
            for row in csv.DictReader(file):
                image, one, other = (raw / row[column].strip() for column in PATHS)
                if not image.exists():
                    place(film, image)
                place(crop, one)
                place(masks[int(row["abnormality id"]) - 1], other)


def prepare(raw: Path, root: Path, num_processes: int) -> PreparationReport:
    """Prepare a download once."""
    return CbisDdsmPreparer(
        raw=str(raw),
        root=str(root),
        labels="pathology",
        categories=[
            {"name": name, "prompts": [name], "isthing": True, "color": [0, 0, 0]}
            for name in NAMES["pathology"]
        ],
        num_folds=5,
        fold_seed=0,
        num_processes=num_processes,
        strict=False,
        minimum_visible_fraction=0.05,
    ).prepare()


def measure(table: Table, raw: Path, num_processes: int) -> PreparationReport:
    """Prepare a download and add a row to the table."""
    before, start = sum(psutil.Process().cpu_times()[:2]), time.perf_counter()
    sampler = ProcessTreeSampler()
    try:
        report = prepare(raw, raw.parent / "out", num_processes)
    finally:
        sampler.stop()
    seconds, cpu = time.perf_counter() - start, sum(sampler.cpu_seconds.values()) - before
    number = report.counts["images prepared"]
    table.add_row(
        str(number),
        f"{seconds:.1f}",
        f"{number / seconds:.2f}",
        f"{cpu / number:.2f}",
        f"{cpu / seconds:.2f}",
        f"{sampler.peak_bytes / 1e9:.2f} GB",
    )
    return report


def main() -> None:
    """Measure few and many images, or the published tables, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[8, 24, 48], help="numbers of images")
    parser.add_argument("--processes", type=int, default=available_cores(), help="worker processes")
    parser.add_argument("--tables", type=Path, help="folder of the published tables")
    arguments = parser.parse_args()
    height, width = SIZE if arguments.tables is None else SMALL
    table = Table(title=f"{height} x {width} pixels, {arguments.processes} processes", title_justify="left")
    for title in ("images", "seconds", "images/s", "CPU s/image", "busy cores", "peak memory"):
        table.add_column(title, justify="right")
    for number in arguments.images if arguments.tables is None else [None]:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            if number is None:
                write_published(raw, arguments.tables)
                Console().print(render(measure(table, raw, arguments.processes)))
            else:
                write_download(raw, number)
                report = measure(table, raw, arguments.processes)
                if report.counts["images prepared"] != number:
                    raise RuntimeError(f"not all of {number} images were prepared: {report.problems[:3]}")
    Console().print(table)


if __name__ == "__main__":
    main()
