"""A folder of many small images: time and memory of ``predict``, and a restart after a kill.

Run ``python benchmarks/predict_many.py --checkpoint RUN/checkpoints/best.ckpt``. It writes small synthetic
pictures, predicts them with the command while it looks at the memory of all its processes, then predicts them
again into another folder, kills that command outright (SIGKILL) halfway, gives the same command once more,
and compares the tables of both folders byte for byte.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

TABLES = ("predictions.csv", "exams.csv", "coco.json")
JOURNAL = "predictions.jsonl"


@dataclass(frozen=True)
class Look:
    """The command at one time.

    Attributes:
        finished: Images.
        seconds: Since it began.
        processor: Seconds of all its processes that are alive.
        gigabytes: Unique and shared memory of all its processes (PSS).
    """

    finished: int
    seconds: float
    processor: float
    gigabytes: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 64), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--output", type=Path, help="left out: a folder that is removed at the end")
    parser.add_argument("overrides", nargs="*", help="settings of the command, such as num_threads=1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="predict_many_", dir=options.output) as name:
        measure(Path(name), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Predict without and with a kill, compare, and print.

    Raises:
        SystemExit: The command failed, or the tables differ.
    """
    console = Console(width=110)
    write_images(folder / "images", options.images, *options.size)
    command = [sys.executable, "-m", "modise_lightning.predict", f"checkpoint={options.checkpoint}"]
    command += [f"input={folder / 'images'}", "contact_sheet_images=0", *options.overrides]
    looks = follow([*command, f"output_dir={folder / 'whole'}"], folder / "whole", options.images)
    show(looks, options, console)
    killed = follow(
        [*command, f"output_dir={folder / 'killed'}"],
        folder / "killed",
        options.images,
        kill_at=options.images // 2,
    )
    resumed = follow([*command, f"output_dir={folder / 'killed'}"], folder / "killed", options.images)
    console.print(
        f"killed with {killed[-1].finished} images finished after {killed[-1].seconds:.0f} s; "
        f"the same command then took {resumed[-1].seconds:.0f} s"
    )
    for table in TABLES:
        same = (folder / "whole" / table).read_bytes() == (folder / "killed" / table).read_bytes()
        console.print(f"{table}: {'the same byte for byte' if same else 'DIFFERENT'}")
        if not same:
            raise SystemExit(1)


def write_images(folder: Path, number: int, height: int, width: int) -> None:
    """Write synthetic pictures of 8 bits: a bright breast, and in each third one a brighter spot."""
    folder.mkdir()
    rows, columns = np.ogrid[:height, :width]
    breast = np.hypot((rows - height / 2) / (height * 0.45), columns / (width * 0.8)) < 1
    for index in track(range(number), "writing images", console=Console(stderr=True)):
        generator = np.random.default_rng(index)
        values = generator.normal(110, 12, (height, width))
        if index % 3 == 0:
            row = height * generator.uniform(0.3, 0.7)
            values += 90 * (np.hypot(rows - row, columns - width * 0.3) < height / 12)
        picture = np.where(breast, values, 0).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{index:06}.png"), picture)


def follow(command: list[str], folder: Path, number: int, kill_at: int | None = None) -> list[Look]:
    """Run a command and look at it until it ends, or kill it.

    Args:
        command: Of ``predict``.
        folder: Where it writes.
        number: Of images.
        kill_at: Finished images at which all its processes are killed.

    Raises:
        SystemExit: It failed.
    """
    began = time.perf_counter()
    looks: list[Look] = []
    log = folder.with_suffix(".log")
    with log.open("ab") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        while process.poll() is None:
            look = look_at(process.pid, folder, time.perf_counter() - began)
            # A process that ends while it is looked at leaves a look without memory.
            looks += [look] if look.gigabytes else []
            if kill_at is not None and look.finished >= kill_at:
                for each in family(process.pid):
                    each.send_signal(signal.SIGKILL)
                return [*looks, look]
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"predict failed:\n{log.read_text()[-2000:]}")
    return [*looks, Look(number, time.perf_counter() - began, looks[-1].processor, looks[-1].gigabytes)]


def family(process: int) -> list[psutil.Process]:
    """Give a process and all that it started."""
    parent = psutil.Process(process)
    return [*parent.children(recursive=True), parent]


def look_at(process: int, folder: Path, seconds: float) -> Look:
    """Count what is finished, and measure the processes."""
    journal = folder / JOURNAL
    # Each image has a line between two line breaks.
    finished = journal.read_bytes().count(b"\n") // 2 if journal.exists() else 0
    gigabytes = processor = 0.0
    try:
        for each in family(process):
            gigabytes += each.memory_full_info().pss / 2**30
            processor += sum(each.cpu_times()[:2])
    except psutil.NoSuchProcess:
        gigabytes = 0.0
    return Look(finished, seconds, processor, gigabytes)


def show(looks: list[Look], options: argparse.Namespace, console: Console) -> None:
    """Print looks at tenths of the images."""
    height, width = options.size
    table = Table(title=f"{options.images} images of {height} x {width} pixels")
    for column in ("finished", "seconds", "images / s so far", "processor s", "GB, all processes"):
        table.add_column(column, justify="right")
    for tenth in range(1, 11):
        look = next(each for each in looks if each.finished >= options.images * tenth // 10)
        table.add_row(
            str(look.finished),
            f"{look.seconds:.0f}",
            f"{look.finished / look.seconds:.1f}",
            f"{look.processor:.0f}",
            f"{look.gigabytes:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
