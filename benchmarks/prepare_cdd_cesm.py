"""Preparation of CDD-CESM: images a second, peak memory and busy cores, for JPEGs of the real size.

Run ``python benchmarks/prepare_cdd_cesm.py``. It writes synthetic JPEGs of 2000 x 1000 pixels with three
outlines each, prepares few and many of them with all cores, and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from modise_lightning.data.cdd_cesm import CddCesmPreparer
from modise_lightning.data.parallel import available_cores
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


def main() -> None:
    """Measure few and many images and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[40, 120, 360], help="numbers of images")
    parser.add_argument("--processes", type=int, default=available_cores(), help="worker processes")
    arguments = parser.parse_args()
    table = Table(title=f"{HEIGHT} x {WIDTH} pixels, {arguments.processes} processes", title_justify="left")
    for title in ("images", "seconds", "images/s", "busy cores", "peak memory"):
        table.add_column(title, justify="right")
    for number in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            write_download(raw, number)
            preparer = CddCesmPreparer(
                raw=str(raw),
                root=str(Path(folder) / "out"),
                labels="pathology",
                categories=[
                    {"name": "malignant", "prompts": ["malignant"], "isthing": True, "color": [0, 0, 0]}
                ],
                modality="both",
                num_folds=5,
                fold_seed=0,
                num_processes=arguments.processes,
                strict=True,
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
        if report.counts["images prepared"] != number:
            raise RuntimeError(f"only {report.counts['images prepared']} of {number} images were prepared")
        cpu_seconds = sum(sampler.cpu_seconds.values()) - before
        table.add_row(
            str(number),
            f"{seconds:.1f}",
            f"{number / seconds:.1f}",
            f"{cpu_seconds / seconds:.2f}",
            f"{sampler.peak_bytes / 1e9:.2f} GB",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
