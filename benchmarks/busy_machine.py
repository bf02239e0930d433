"""What training costs on a machine that others use too, by the number of threads and how they wait.

Run ``python benchmarks/busy_machine.py``. The same short training of the tiny model runs with nothing beside
it and beside busy processes, once for each way of waiting; a process that does nothing but count stands for
each other user. Ratios are to the same way on the idle machine: anything else that runs makes them worthless.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

BUSY = "while True: pass"


@dataclass(frozen=True)
class Way:
    """Threads, and what they do while they wait.

    Attributes:
        threads: Of the training process; None leaves the number to the library.
        environment: Variables of GNU's OpenMP (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``).
    """

    threads: int | None
    environment: dict[str, str]

    @property
    def name(self) -> str:
        """What the table calls it."""
        threads = "as shipped" if self.threads is None else str(self.threads)
        return " ".join([threads, *(f"{key}={value}" for key, value in self.environment.items())])


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the processor, of a whole process."""

    wall: float
    processor: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30, help="at most those of an epoch")
    parser.add_argument("--busy", type=int, default=4, help="processes beside the training")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--spin-counts", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--root", type=Path, default=Path("data/phantom"))
    arguments = parser.parse_args()
    ways = [Way(None, {})]
    for threads in arguments.threads:
        ways.append(Way(threads, {}))
        if threads > 1:
            ways.append(Way(threads, {"OMP_WAIT_POLICY": "PASSIVE"}))
            ways += [Way(threads, {"GOMP_SPINCOUNT": str(count)}) for count in arguments.spin_counts]
    rows = [
        (way, _train(way, arguments.steps, arguments.root), _beside(arguments.busy, way, arguments))
        for way in track(ways, "ways", console=Console(stderr=True))
    ]
    table = Table("threads", "idle s", "idle cpu s", f"beside {arguments.busy}: s", "cpu s", "cpu ratio")
    for way, idle, busy in rows:
        seconds = [idle.wall, idle.processor, busy.wall, busy.processor]
        ratio = f"{busy.processor / idle.processor:.2f}"
        table.add_row(way.name, *(f"{each:.1f}" for each in seconds), ratio)
    Console(width=110).print(table)


def _beside(number: int, way: Way, arguments: argparse.Namespace) -> Cost:
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        return _train(way, arguments.steps, arguments.root)
    finally:
        for other in others:
            other.kill()
            other.wait()


def _train(way: Way, steps: int, root: Path) -> Cost:
    """Train a few steps in a process of its own, without what surrounds a training."""
    unset = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"trainer.limit_train_batches={steps}",
            "trainer.max_epochs=1",
            "trainer.check_val_every_n_epoch=1",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
            "baselines=[]",
            f"data.root={root.resolve()}",
            f"hydra.run.dir={folder}",
            "pictures.num_images=1",
            *([] if way.threads is None else [f"num_threads={way.threads}"]),
        ]
        command = [sys.executable, "-m", "modise_lightning.train", *overrides]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            command,
            env={**environment, **way.environment},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
