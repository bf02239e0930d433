"""Finds the trained model that a command names: a checkpoint, a package, or a package on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from modise_lightning.errors import UserError
from modise_lightning.inference.tuned_settings import TunedSettings
from modise_lightning.packages.archive import is_package
from modise_lightning.packages.hub import PREFIX, pull
from modise_lightning.packages.package import read_package
from modise_lightning.training.checkpoint import read_checkpoint


def locate_model(config: DictConfig) -> Path:
    """Give the one file that ``checkpoint`` or ``model`` names; both take all kinds.

    Raises:
        UserError: As of ``locate_models``; or several are named.
    """
    names = locate_models(config)
    if len(names) > 1:
        raise UserError(f"checkpoint: {len(names)} models are named; this command takes one.")
    return Path(names[0])


def locate_models(config: DictConfig) -> list[str]:
    """Give the files or folders that ``checkpoint`` or ``model`` names, with the hub's in its cache.

    Args:
        config: With both keys, where ``checkpoint`` refers to ``model`` unless it is given.

    Raises:
        UserError: Neither is given, or both; or the hub has no such package.
    """
    named = config.checkpoint
    if named is None:
        raise UserError(
            "checkpoint: name a trained model: checkpoint=RUN/checkpoints/best.ckpt, model=model.zip or "
            "model=hf://owner/name."
        )
    if config.model is not None and config.model != named:
        raise UserError("checkpoint and model exclude each other: both name a trained model. Give one.")
    names = [named] if isinstance(named, str) else [str(name) for name in named]
    return [str(pull(name)) if name.startswith(PREFIX) else name for name in names]


def read_model(path: Path, setting: str = "checkpoint") -> tuple[dict[str, Any], TunedSettings]:
    """Read a checkpoint or a package without running anything in it.

    Args:
        path: A file.
        setting: The setting that named it, for messages.

    Returns:
        As ``read_checkpoint`` gives it; and the tuned settings that a package brings.

    Raises:
        UserError: It is missing, damaged, or neither.
    """
    if is_package(path):
        package = read_package(path, setting)
        return package.checkpoint, package.settings
    return read_checkpoint(path, setting), TunedSettings()
