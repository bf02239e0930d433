"""Makes a package as the command does, from a checkpoint whose network was not trained."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from cross_validation_runs import write_measured_run
from fuzzing.model_kinds import make_checkpoint
from modise_lightning.packages.package import Evaluation, write_package
from modise_lightning.reporting.text_tables.rendering import Line, TextTable
from modise_lightning.training.checkpoint import read_checkpoint

SETTINGS = "inference: {score_threshold: 0.25, overlap_threshold: 0.5}\n"


def make_run(folder: Path, name: str = "model", fold: int = 0, checkpoint: bytes | None = None) -> Path:
    """Write a run: measured random images, and the checkpoint of an untrained network."""
    write_measured_run(folder, name, fold, shift=1)
    (folder / "checkpoints").mkdir()
    path = folder / "checkpoints" / "best.ckpt"
    path.write_bytes(make_checkpoint() if checkpoint is None else checkpoint)
    return path


def make_package(path: Path, checkpoint: Path, settings: str | None = SETTINGS) -> Path:
    """Write a package with an evaluation of one number."""
    table = TextTable("numbers", ["number", "value"], [Line(["PQ", "50"], [False, False], False)], [])
    write_package(
        path,
        read_checkpoint(checkpoint),
        name="model",
        fold=0,
        frozen_parts=[],
        settings=settings,
        evaluation=Evaluation.of({"PQ": (0.5, 0.4, None)}, 0.95, [table]),
        card="# A card\n",
    )
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()
