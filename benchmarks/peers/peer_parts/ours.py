"""This library's models: the ordinary training command, with as many epochs as the budget allows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from peer_parts.budget import epochs_within
from peer_parts.exchange import Exchange
from peer_parts.peer_process import PeerRun
from peer_parts.settings import CLOCK, OURS, REPOSITORY, library_overrides

_MEASURED_EPOCHS = 3  # features of frozen parts are kept: the first ones take longer


def train_ours(run: PeerRun, data: Path, log: Path) -> None:
    """Measure some epochs, train, test, and write what it took.

    Args:
        run: What to train.
        data: The prepared dataset.
        log: File for what the commands print.
    """
    folder = run.work / "run"
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted training
    probe = ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "metrics=paper"]
    measured = _train(run, data, run.work / "measured", _MEASURED_EPOCHS, probe, log)
    epochs = epochs_within(run.minutes * 60, measured["epochs"])
    spent = _train(run, data, folder, epochs, [], log)
    checkpoint = folder / "checkpoints" / "best.ckpt"
    seconds_file = run.work / "seconds_per_image.json"
    command = ["-m", "peer_parts.our_prediction", str(checkpoint), str(seconds_file)]
    _python(command, log)
    run.write_cost(
        processor_seconds=sum(spent["epochs"]),
        peak_memory_mb=spent["peak_memory_mb"],
        seconds_per_image=json.loads(seconds_file.read_text(encoding="utf-8"))["seconds_per_image"],
        optimizer_steps=spent["optimizer_steps"],
        images_seen=epochs * len(run.exchange.split(run.fold, "train")),
        training={"measured_epochs": measured["epochs"], "epochs": epochs},
        packages=("modise-lightning", "torch", "lightning", "transformers", "diffusers", "numpy"),
    )


def _train(run: PeerRun, data: Path, folder: Path, epochs: int, more: list[str], log: Path) -> dict[str, Any]:
    """Train with the ordinary command; give what ``TrainingClock`` wrote."""
    shutil.rmtree(folder, ignore_errors=True)
    clock = run.work / f"{folder.name}_clock.json"
    exchange: Exchange = run.exchange
    command = [
        "-m",
        "modise_lightning.train",
        *library_overrides(data, exchange.size, run.fold, run.model),
        *OURS[run.model],
        f"seed={run.seed}",
        "num_threads=1",
        "baselines=[]",
        f"trainer.max_epochs={epochs}",
        f"trainer.check_val_every_n_epoch={epochs}",  # once, at the end, which is not counted
        "trainer.num_sanity_val_steps=0",
        "trainer.accelerator=cpu",
        f"hydra.run.dir={folder}",
        f"+callbacks.clock._target_={CLOCK}",
        f"+callbacks.clock.path={clock}",
        *more,
    ]
    _python(command, log)
    content: dict[str, Any] = json.loads(clock.read_text(encoding="utf-8"))
    return content


def _python(arguments: list[str], log: Path) -> None:
    paths = [str(REPOSITORY / "benchmarks" / "peers"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with log.open("a", encoding="utf-8") as file:
        subprocess.run([sys.executable, *arguments], check=True, env=environment, stdout=file, stderr=file)
