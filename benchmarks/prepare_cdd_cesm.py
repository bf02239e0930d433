"""Preparation of CDD-CESM: images a second, peak memory and busy cores, for JPEGs of the real size.

Run ``python benchmarks/prepare_cdd_cesm.py``. It writes synthetic JPEGs of 2000 x 1000 pixels with three
outlines each, prepares few and many of them with all cores, and prints a table. With ``--tables FOLDER`` it
prepares blank JPEGs under the names, and with the outlines, of the published tables in that folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from modise_lightning.cores import available_cores
from modise_lightning.data.preparation.report import PreparationReport, render
from modise_lightning.data.preparation.via_shapes import bounds
from modise_lightning.data.sources.cdd_cesm.preparer import CddCesmPreparer
from modise_lightning.data.sources.cdd_cesm.tables import read_regions
from prepare_vindr_mammo import ProcessTreeSampler

HEIGHT, WIDTH = 2000, 1000
SHEET_HEADER = ["Image_name", "Pathology Classification/ Follow up"]
REGIONS_HEADER = [
    "#filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
]


def write_jpeg(path: Path) -> None:
    """Write a breast of noisy tissue on black."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    breast = np.hypot((rows - HEIGHT / 2) / (HEIGHT * 0.45), columns / (WIDTH * 0.7)) < 1
    tissue = cv2.GaussianBlur(generator.normal(0, 200, (HEIGHT, WIDTH)), (0, 0), 4) + 110
    pixels = np.where(breast, tissue + generator.normal(0, 3, (HEIGHT, WIDTH)), 0).clip(0, 255)
    cv2.imwrite(str(path), pixels.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])


def write_download(raw: Path, num_images: int) -> None:
    """Write images with three outlines each, the sheet, and the outlines."""
    raw.mkdir(parents=True)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    shapes: list[dict[str, object]] = [
        {
            "name": "polygon",
            "all_points_x": (400 + 180 * np.cos(angles)).round().tolist(),
            "all_points_y": (900 + 150 * np.sin(angles)).round().tolist(),
        },
        {"name": "ellipse", "cx": 420, "cy": 920, "rx": 60, "ry": 40},
        {"name": "circle", "cx": 250, "cy": 1300, "r": 50},
    ]
    names = [
        f"P{number // 4 + 1}_{'LR'[number % 2]}_DM_{('CC', 'MLO')[number // 2 % 2]}"
        for number in range(num_images)
    ]
    first = raw / f"{names[0]}.jpg"
    write_jpeg(first)
    for name in names[1:]:
        # The same bytes: the disk's cache, not the disk, is what a benchmark of the code should read.
        (raw / f"{name}.jpg").hardlink_to(first)
    with (raw / "Radiology manual annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([SHEET_HEADER, *([name, "Malignant"] for name in names)])
    with (raw / "Radiology_hand_drawn_segmentations_v2.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REGIONS_HEADER)
        for name in names:
            for number, shape in enumerate(shapes):
                writer.writerow([f"{name}.jpg", 1, "{}", len(shapes), number, json.dumps(shape), "{}"])


def write_blank_images(raw: Path, tables: Path) -> None:
    """Copy the published tables and write a blank image, large enough, for each one with outlines."""
    raw.mkdir(parents=True)
    for path in tables.iterdir():
        if path.suffix.lower() in (".csv", ".xlsx"):
            shutil.copy(path, raw)
    regions, problems = read_regions(raw / "Radiology_hand_drawn_segmentations_v2.csv")
    if problems:
        raise RuntimeError(f"{len(problems)} rows of outlines cannot be read. The first: {problems[0]}")
    for name, outlines in regions.items():
        ends = [bounds(each.shape) for each in outlines]
        width = max(WIDTH, *(math.ceil(end[2]) + 1 for end in ends))
        height = max(HEIGHT, *(math.ceil(end[3]) + 1 for end in ends))
        cv2.imwrite(str(raw / f"{name.stem}.jpg"), np.zeros((height, width), np.uint8))


def measure(raw: Path, root: Path, num_processes: int) -> tuple[PreparationReport, list[str]]:
    """Prepare a download once.

    Returns:
        The report, and what it took: seconds, images a second, busy cores, peak memory.
    """
    preparer = CddCesmPreparer(
        raw=str(raw),
        root=str(root),
        labels="pathology",
        categories=[
            {"name": name, "prompts": [name], "isthing": True, "color": [0, 0, 0]}
            for name in ("benign", "malignant")
        ],
        modality="both",
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
    cpu_seconds = sum(sampler.cpu_seconds.values()) - before
    return report, [
        f"{seconds:.1f}",
        f"{report.counts['images prepared'] / seconds:.1f}",
        f"{cpu_seconds / seconds:.2f}",
        f"{sampler.peak_bytes / 1e9:.2f} GB",
    ]


def main() -> None:
    """Measure few and many images, or the published tables, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[40, 120, 360], help="numbers of images")
    parser.add_argument("--processes", type=int, default=available_cores(), help="worker processes")
    parser.add_argument("--tables", type=Path, help="folder of the published sheet and outlines")
    arguments = parser.parse_args()
    console = Console()
    title = "published tables, blank images" if arguments.tables else f"{HEIGHT} x {WIDTH} pixels"
    table = Table(title=f"{title}, {arguments.processes} processes", title_justify="left")
    for title in ("images", "seconds", "images/s", "busy cores", "peak memory"):
        table.add_column(title, justify="right")
    for number in [None] if arguments.tables else arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            raw, root = Path(folder) / "raw", Path(folder) / "out"
            if number is None:
                write_blank_images(raw, arguments.tables)
            else:
                write_download(raw, number)
            report, took = measure(raw, root, arguments.processes)
        prepared = report.counts["images prepared"]
        if number is None:
            console.print(render(report))
        elif prepared != number or report.problems:
            raise RuntimeError(f"only {prepared} of {number} images were prepared well: {report.problems}")
        table.add_row(str(prepared), *took)
    console.print(table)


if __name__ == "__main__":
    main()
