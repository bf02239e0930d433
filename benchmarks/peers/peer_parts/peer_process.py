"""What the processes of all models share: their command line, folders and the file of what it took."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from peer_parts.exchange import Exchange, read_exchange

COST = "cost.json"


@dataclass(frozen=True)
class PeerRun:
    """One training of one model.

    Attributes:
        model: Its name.
        exchange: The images.
        fold: The test fold.
        minutes: Processor time of the training.
        work: Folder of this model and fold.
        seed: Of everything random.
    """

    model: str
    exchange: Exchange
    fold: int
    minutes: float
    work: Path
    seed: int

    @property
    def predictions(self) -> Path:
        """Folder of the predictions."""
        folder = self.work / "predictions"
        folder.mkdir(exist_ok=True)
        return folder

    def write_cost(
        self,
        *,
        processor_seconds: float,
        peak_memory_mb: float,
        seconds_per_image: float,
        optimizer_steps: int,
        images_seen: int,
        training: Mapping[str, object],
        packages: Sequence[str],
    ) -> None:
        """Write what the training and the predictions took; the last thing that a process does.

        Args:
            processor_seconds: Of the training, without preparation, measuring and evaluation.
            peak_memory_mb: Resident, at the end of the training.
            seconds_per_image: Processor seconds to predict one, from pixels to results at its stored size.
            optimizer_steps: Of the training.
            images_seen: By all of them together.
            training: What else is worth telling of it.
            packages: Names of those whose versions matter.
        """
        content = {
            "model": self.model,
            "fold": self.fold,
            "size": self.exchange.size,
            "minutes": self.minutes,
            "processor_seconds": processor_seconds,
            "peak_memory_mb": peak_memory_mb,
            "seconds_per_image": seconds_per_image,
            "optimizer_steps": optimizer_steps,
            "images_seen": images_seen,
            "training_images": len(self.exchange.split(self.fold, "train")),
            "training": dict(training),
            "versions": {name: version(name) for name in packages},
        }
        write_json(self.work / COST, content)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a file that is either whole or not there."""
    half = path.with_suffix(".part")
    half.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(half, path)


def run_peer(description: str) -> PeerRun:
    """Read the command line, and compute on one core."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--exchange", type=Path, required=True, help="folder with the images")
    parser.add_argument("--fold", type=int, required=True, help="the test fold")
    parser.add_argument("--minutes", type=float, required=True, help="processor time of the training")
    parser.add_argument("--work", type=Path, required=True, help="folder of this model and fold")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    return PeerRun(
        arguments.model,
        read_exchange(arguments.exchange),
        arguments.fold,
        arguments.minutes,
        arguments.work.resolve(),
        arguments.seed,
    )
