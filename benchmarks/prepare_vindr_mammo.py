"""Preparation of VinDr-Mammo: images a second, peak memory and busy cores, for DICOM files of the real size.

Run ``python benchmarks/prepare_vindr_mammo.py``. It writes synthetic images of 3518 x 2800 pixels, 12 bits in
16, prepares few and many of them with all cores, and prints a table; ``--compressed`` for JPEG 2000.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from rich.console import Console
from rich.table import Table

from modise_lightning.cores import available_cores
from modise_lightning.data.preparation.box_to_mask import BoxToMask
from modise_lightning.data.sources.vindr_mammo.preparer import VinDrMammoPreparer
from modise_lightning.data.sources.vindr_mammo.selection import NAMES

HEIGHT, WIDTH = 3518, 2800
CENTER, RADIUS = (1500, 900), 180  # y and x of the lesion in pixels
HEADER = (
    "study_id,image_id,laterality,view_position,height,width,breast_birads,breast_density,finding_categories,"
    "finding_birads,xmin,ymin,xmax,ymax,split\n"
)


@dataclass
class Measurement:
    """What a preparation took.

    Attributes:
        images: Number of images.
        seconds: Wall time.
        cpu_seconds: CPU time of this process and its workers.
        peak_bytes: Largest sum of the private memory of this process and its workers.
    """

    images: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class ProcessTreeSampler(threading.Thread):
    """Watches the memory and the CPU time of this process and its workers."""

    def __init__(self) -> None:
        """Start watching."""
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.cpu_seconds: dict[int, float] = {}
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Look every few milliseconds."""
        this = psutil.Process()
        while not self._ended.wait(0.02):
            total = 0
            for process in [this, *this.children(recursive=True)]:
                try:
                    total += process.memory_full_info().uss
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self.cpu_seconds[process.pid] = times.user + times.system
            self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        """End watching."""
        self._ended.set()
        self.join()


def make_image(seed: int) -> np.ndarray:
    """Make a breast with a lesion: (H, W) uint16, 12 bits, noisy tissue on black."""
    generator = np.random.default_rng(seed)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    breast = np.hypot((rows - HEIGHT / 2) / (HEIGHT * 0.45), columns / (WIDTH * 0.6)) < 1
    lesion = np.hypot(rows - CENTER[0], columns - CENTER[1]) < RADIUS
    noise = generator.normal(0, 60, (HEIGHT, WIDTH)).astype(np.float32)
    return np.where(breast, 1500 + noise + 900 * lesion, 0).clip(0, 4095).astype(np.uint16)


def write_image(path: Path, pixels: np.ndarray, compressed: bool) -> None:
    """Write a DICOM file."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2000, 3000
    dataset.PixelData = pixels.tobytes()
    if compressed:
        dataset.compress(JPEG2000Lossless)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def write_download(raw: Path, num_images: int, compressed: bool) -> None:
    """Write images with a box each, and the table of findings."""
    (y, x), margin = CENTER, RADIUS + 25
    box = [x - margin, y - margin, x + margin, y + margin]
    rows: list[list[object]] = []
    first = raw / "images" / "study0" / "image0.dicom"
    write_image(first, make_image(0), compressed)
    for number in range(num_images):
        path = raw / "images" / f"study{number}" / f"image{number}.dicom"
        if path != first:
            # The same bytes: the disk's cache, not the disk, is what a benchmark of the code should read.
            path.parent.mkdir(parents=True)
            path.hardlink_to(first)
        birads = NAMES["birads"][number % 3]
        ids = [f"study{number}", f"image{number}", "L", "CC", HEIGHT, WIDTH]
        rows.append([*ids, birads, "DENSITY C", "['Mass']", birads, *box, "training"])
    with (raw / "finding_annotations.csv").open("w", newline="") as file:
        file.write(HEADER)
        csv.writer(file).writerows(rows)


def measure(raw: Path, root: Path, num_images: int, num_processes: int) -> Measurement:
    """Prepare a download once."""
    preparer = VinDrMammoPreparer(
        raw=str(raw),
        root=str(root),
        labels="birads",
        categories=[
            {"name": name, "prompts": [name], "isthing": True, "color": [0, 0, 0]} for name in NAMES["birads"]
        ],
        box_to_mask=BoxToMask(blur_sigma=7.0, concave_hull_ratio=0.1, minimum_side=7),
        normals="none",
        num_folds=5,
        fold_seed=0,
        num_processes=num_processes,
        strict=False,
        minimum_visible_fraction=0.05,
    )
    before = sum(psutil.Process().cpu_times()[:2])
    start = time.perf_counter()
    sampler = ProcessTreeSampler()
    try:
        report = preparer.prepare()
    finally:
        sampler.stop()
    seconds = time.perf_counter() - start
    if report.counts["images prepared"] != num_images:
        raise RuntimeError(f"only {report.counts['images prepared']} of {num_images} images were prepared")
    return Measurement(num_images, seconds, sum(sampler.cpu_seconds.values()) - before, sampler.peak_bytes)


def main() -> None:
    """Measure few and many images and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[8, 24, 48], help="numbers of images")
    parser.add_argument("--processes", type=int, default=available_cores(), help="worker processes")
    parser.add_argument("--compressed", action="store_true", help="JPEG 2000 instead of raw pixels")
    arguments = parser.parse_args()
    table = Table(title=f"{HEIGHT} x {WIDTH} pixels, {arguments.processes} processes", title_justify="left")
    for title in ("images", "seconds", "images/s", "CPU s/image", "busy cores", "peak memory"):
        table.add_column(title, justify="right")
    for number in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            write_download(Path(folder) / "raw", number, arguments.compressed)
            result = measure(Path(folder) / "raw", Path(folder) / "out", number, arguments.processes)
        table.add_row(
            str(number),
            f"{result.seconds:.1f}",
            f"{number / result.seconds:.2f}",
            f"{result.cpu_seconds / number:.2f}",
            f"{result.cpu_seconds / result.seconds:.2f}",
            f"{result.peak_bytes / 1e9:.2f} GB",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
