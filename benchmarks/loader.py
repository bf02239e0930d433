"""Loader throughput: training images a second, by size and number of loader processes.

Run ``python benchmarks/loader.py``. It writes a prepared dataset of synthetic images of 2000 x 1000 pixels,
loads two epochs of augmented batches of 4, measures the second, and prints a table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from modise_lightning.data.loading.datamodule import PanopticDataModule
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.structures import Category, ImageRecord

HEIGHT, WIDTH, BATCH_SIZE = 2000, 1000, 4
CATEGORIES = (Category("lesion", ("lesion",)),)


def write_dataset(root: Path, num_images: int) -> None:
    """Write images of noisy tissue with a lesion each, in five folds."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    ids = (np.hypot(rows - 900, columns - 400) < 120).astype(np.int32)
    breast = np.hypot((rows - HEIGHT / 2) / (HEIGHT * 0.45), columns / (WIDTH * 0.7)) < 1
    pixels = np.where(breast, generator.normal(110, 20, (HEIGHT, WIDTH)), 0).clip(0, 255).astype(np.uint8)
    entries = []
    for number in range(num_images):
        record = ImageRecord(number, f"{number}.png", f"P{number}", HEIGHT, WIDTH)
        entries.append(write_entry(root, record, pixels, ids, [0], {}))
    patients = [entry.record.patient_id for entry in entries]
    info = {"name": "benchmark", "synthetic": True, "description": "noise", "license": "none"}
    folds = assign_folds(patients, ["lesion"] * num_images, 5, 0)
    write_index(root, info, CATEGORIES, entries, folds, 0)


def measure(dataset: PreparedDataset, size: int, num_workers: int, trim_background: bool) -> float:
    """Give the training images a second of one epoch, the loader's start left out."""
    data = PanopticDataModule(
        dataset=dataset,
        fold=0,
        split="folds",
        train_transform=TrainTransform(
            crop_size=size,
            scale_range=(0.1, 2.0),
            flip_probability=0.5,
            brightness=0.1,
            contrast=0.2,
            trim_background=trim_background,
            padding_value=0.0,
            keep_emptied_segments=False,
        ),
        evaluation_transform=EvaluationTransform(
            image_size=size, shorter_side=None, longer_side=1.0, trim_background=trim_background
        ),
        batch_size=BATCH_SIZE,
        evaluation_batch_size=1,
        num_workers=num_workers,
        pin_memory=False,
        size_multiple=32,
        seed=0,
    )
    loader = data.train_dataloader()
    for _ in loader:  # starts the workers and fills the disk's cache
        pass
    start = time.perf_counter()
    images = sum(len(batch.images) for batch in loader)
    return images / (time.perf_counter() - start)


def main() -> None:
    """Measure every combination and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="sides of training images")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="loader processes")
    parser.add_argument("--images", type=int, default=100, help="images of the dataset; 3 of 5 folds train")
    parser.add_argument("--trim-background", action="store_true", help="cut the air around the breast")
    arguments = parser.parse_args()
    table = Table(
        title=f"training images a second, stored at {HEIGHT} x {WIDTH} pixels", title_justify="left"
    )
    table.add_column("loader processes", justify="right")
    for size in arguments.sizes:
        table.add_column(f"{size} pixels", justify="right")
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), arguments.images)
        dataset = PreparedDataset.open(Path(folder), CATEGORIES)
        for num_workers in arguments.workers:
            speeds = [
                measure(dataset, size, num_workers, arguments.trim_background) for size in arguments.sizes
            ]
            table.add_row(str(num_workers), *(f"{speed:.1f}" for speed in speeds))
    Console().print(table)


if __name__ == "__main__":
    main()
