"""What a checkpoint holds and how it is read: trained weights, the configuration, and what made them."""

from __future__ import annotations

import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.weights import fingerprint

METADATA_KEY = "modise_lightning"
_RECORDED_PACKAGES = (
    "modise-lightning",
    "torch",
    "lightning",
    "transformers",
    "diffusers",
    "open_clip_torch",
    "timm",
)


def versions() -> dict[str, str]:
    """Give the versions of the packages that the numbers of a run depend on."""
    return {package: importlib.metadata.version(package) for package in _RECORDED_PACKAGES}


def trained_state(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave the frozen parameters of ``module`` out of its state dict."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in state.items() if name not in frozen}


def check_state(module: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Check that a checkpoint's trained weights and frozen parts are those of ``module``.

    Raises:
        UserError: Names or shapes differ, or the frozen weights are other ones than in training.
    """
    expected = {name: value.shape for name, value in trained_state(module, module.state_dict()).items()}
    found = {name: value.shape for name, value in checkpoint["state_dict"].items()}
    if expected != found:
        missing = sorted(expected.keys() - found.keys())
        unexpected = sorted(found.keys() - expected.keys())
        shapes = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
        raise UserError(
            "checkpoint: its weights do not fit the configured model "
            f"(missing: {missing[:3]}, unexpected: {unexpected[:3]}, other shapes: {shapes[:3]}). "
            "Use the configuration that it was trained with."
        )
    trained_with = checkpoint[METADATA_KEY]["frozen_weights"]
    present = fingerprint(module)
    if present != trained_with:
        raise UserError(
            "checkpoint: the frozen weights (diffusion model, CLIP) are not those it was trained with "
            f"(fingerprint {present}, in training {trained_with}). Give the same pretrained weights."
        )


def read_checkpoint(path: Path, setting: str = "checkpoint") -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: A file that a run wrote.
        setting: The setting that named it, for messages.

    Raises:
        UserError: No such file, not readable, or not a checkpoint of this library.
    """
    if not path.is_file():
        raise UserError(f"{setting}: no file '{path}'. Runs write theirs to <run folder>/checkpoints/.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{setting}: '{path}' cannot be read safely: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or METADATA_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(
            f"{setting}: '{path}' was not written by modise_lightning (no '{METADATA_KEY}' entry)."
        )
    return checkpoint


def check_resumable(path: Path) -> None:
    """Check that training can go on from a checkpoint.

    Raises:
        UserError: It cannot be read, or it holds weights alone.
    """
    if "optimizer_states" not in read_checkpoint(path, "resume"):
        raise UserError(
            f"resume: '{path}' holds weights without the optimizer's state. "
            "Resume from <run folder>/checkpoints/last.ckpt."
        )
