"""Checks that a resumed training goes on as the one that was interrupted, and brings its metrics along."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig, OmegaConf

from modise_lightning.configuration.stored_config import parse_stored_config
from modise_lightning.errors import UserError
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

_ABSENT = "nothing"
# Whether a setting (and all below it) decides the data, the model or the course of the training. The longest
# key counts; a setting that is not here decides. Those that do not may differ, and take effect.
_DECIDES = {
    # How long the training is; its learning-rate schedule follows.
    "trainer.max_epochs": False,
    "trainer.max_time": False,
    # Where files are, and what a run is called. That the data and the frozen weights in them are the same is
    # checked by their fingerprints.
    "resume": False,
    "init": False,
    "name": False,
    "output_dir": False,
    "trainer.default_root_dir": False,
    "data.root": False,
    "data.raw": False,
    "data.auto_prepare": False,
    "data.preparer": False,
    "data.module.dataset.root": False,
    "data.roots": False,
    "data.members": False,
    "feature_store.folder": False,
    "backbone.weights": False,
    "captioner.weights": False,
    "text.encoder.weights": False,
    # What is shown, logged, kept and compared with.
    "baselines": False,
    "pictures": False,
    "logger": False,
    "callbacks": False,
    "callbacks.checkpoint.monitor": True,
    "callbacks.checkpoint.mode": True,
    "trainer.log_every_n_steps": False,
    "trainer.num_sanity_val_steps": False,
    "trainer.limit_test_batches": False,
    "trainer.enable_model_summary": False,
    # What computes it, with the same results but for rounding.
    "num_threads": False,
    "num_workers": False,
    "evaluation_batch_size": False,
    "data.module.num_workers": False,
    "data.module.pin_memory": False,
    "data.module.evaluation_batch_size": False,
    "feature_store.max_gigabytes": False,
    "trainer.accelerator": False,
    "trainer.strategy": False,
    "trainer.deterministic": False,
    "backbone.compile": False,
    "backbone.compiled_parts": False,
    "backbone.channels_last": False,
    "backbone.max_windows": False,
    "backbone.gradient_checkpointing": False,
}
_MOST_DIFFERENCES = 3


def check_resumable(path: Path, config: DictConfig) -> None:
    """Check that training can go on from a checkpoint with a configuration.

    Args:
        path: The checkpoint.
        config: The composed configuration of the run that goes on; takes over ``init_fingerprint``.

    Raises:
        UserError: The checkpoint cannot be read or holds weights alone; a setting that decides the data, the
            model or the course of the training differs; or the best checkpoint so far is not beside it.
    """
    checkpoint = read_checkpoint(path, "resume")
    if "optimizer_states" not in checkpoint:
        raise UserError(
            f"resume: '{path}' holds weights without the optimizer's state. "
            "Resume from <run folder>/checkpoints/last.ckpt."
        )
    # Not resolved: what refers to a setting follows it, and nothing in a file is looked up elsewhere.
    stored = OmegaConf.to_container(parse_stored_config(path, checkpoint[METADATA_KEY]["config"]))
    present = OmegaConf.to_container(config)
    assert isinstance(stored, dict)
    assert isinstance(present, dict)
    if config.data.categories is None:
        # The dataset's own are taken, which are compared with the rest of the data.
        present["data"]["categories"] = stored["data"]["categories"]
    # What the training started from is in its weights now, and goes on to be told.
    stored.setdefault("init_fingerprint", None)
    if config.init_fingerprint is None:
        present["init_fingerprint"] = config.init_fingerprint = stored["init_fingerprint"]
    differences = find_differences(cast(Mapping[str, Any], stored), cast(Mapping[str, Any], present))
    if differences:
        told = ", ".join(
            f"{key} (there {there}, here {here})"
            for key, (there, here) in list(differences.items())[:_MOST_DIFFERENCES]
        )
        more = len(differences) - _MOST_DIFFERENCES
        raise UserError(
            f"resume: '{path}' is of a training with other settings: {told}"
            + (f" and {more} more" if more > 0 else "")
            + ". Give the settings that it was started with, or start a new training."
        )


def check_same_data(path: Path, data: Mapping[str, Any]) -> None:
    """Check that the images of a run and their division are those of the checkpoint that it goes on from.

    Args:
        path: The checkpoint.
        data: What this run's checkpoints say of the data, ``dataset`` and ``data_fingerprint``.

    Raises:
        UserError: They differ.
    """
    stored = read_checkpoint(path, "resume")[METADATA_KEY]
    if stored.get("data_fingerprint") is None:
        raise UserError(
            f"resume: '{path}' was written by an earlier version, which did not say what images it was "
            "trained on. Resume it with that version, or start a new training."
        )
    if any(stored.get(key) != value for key, value in data.items()):
        raise UserError(
            f"resume: '{path}' was trained on other images, or with another division of them, than those of "
            "the dataset in data.root. Give the dataset that it was trained on."
        )


def find_differences(stored: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Find the settings that decide a training and differ between two configurations.

    Returns:
        By key, what the first and the second have; ``nothing`` where one has no such key.
    """
    before, now = flatten(stored), flatten(present)
    keys = dict.fromkeys([*now, *before])
    values = {key: (before.get(key, _ABSENT), now.get(key, _ABSENT)) for key in keys}
    return {key: pair for key, pair in values.items() if pair[0] != pair[1] and _decides(key)}


def carry_metrics(loggers: list[Logger], path: Path) -> None:
    """Put what the interrupted run logged up to its checkpoint into the resumed one's ``metrics.csv``.

    Args:
        loggers: Of the run that goes on, none used yet.
        path: The checkpoint, in ``<run folder>/checkpoints``.
    """
    checkpoint = read_checkpoint(path, "resume")
    source = path.resolve().parent.parent / "metrics.csv"
    if not source.is_file():
        return
    with source.open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if _was_before(row, checkpoint["global_step"], checkpoint["epoch"])
        ]
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            # Making the writer deletes an older file at its place, which has been read.
            writer = logger.experiment
            writer.metrics.extend({key: value for key, value in row.items() if value != ""} for row in rows)
            writer.save()


def keep_earlier_metrics(loggers: list[Logger], resumed: Path | None) -> None:
    """Rename the ``metrics.csv`` of an earlier run in this run's folder, which Lightning would delete.

    Args:
        loggers: Of the run that begins, none used yet.
        resumed: The checkpoint that it goes on from; its run's metrics are carried on, not kept apart.
    """
    carried = None if resumed is None else resumed.resolve().parent.parent / "metrics.csv"
    for logger in loggers:
        if not isinstance(logger, CSVLogger):
            continue
        path = Path(logger.log_dir).resolve() / "metrics.csv"
        if path.is_file() and path != carried:
            names = (path.with_name(f"metrics_{number}.csv") for number in count(1))
            kept = next(name for name in names if not name.exists())
            path.rename(kept)
            print(
                f"warning: the metrics of an earlier run in this folder are kept as '{kept}'", file=sys.stderr
            )


def _was_before(row: Mapping[str, str], global_step: int, epoch: int) -> bool:
    """Whether a row was logged before a checkpoint; what was logged after it will be logged again."""
    step = int(row["step"])
    if step != global_step:
        return step < global_step
    # A validation is logged at the number of steps so far, at which the next epoch logs its first one, too.
    return row.get("epoch", "") != "" and int(row["epoch"]) <= epoch


def _decides(key: str) -> bool:
    parts = key.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((_DECIDES[prefix] for prefix in prefixes if prefix in _DECIDES), True)


def flatten(node: object, prefix: str = "") -> dict[str, Any]:
    """Give the leaves of nested mappings by dotted key; a list is a leaf."""
    if isinstance(node, Mapping) and node:
        return {
            key: value
            for name, child in node.items()
            for key, value in flatten(child, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: node}
