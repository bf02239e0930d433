"""What a checkpoint holds and how it is read: trained weights, the configuration, and what made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.pretrained.archive_check import check_archive
from modise_lightning.pretrained.weights import fingerprint

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


def state_fingerprint(state: Mapping[str, Tensor], prefix: str = "") -> str:
    """Identify trained weights by their names, shapes, types and values.

    Args:
        state: By name.
        prefix: What stands before these names in a checkpoint, with a dot at the end.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        data = value.detach().cpu().contiguous()
        digest.update(f"{prefix}{name}|{tuple(data.shape)}|{data.dtype}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


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
    own = module.state_dict()
    for name, value in checkpoint["state_dict"].items():
        sound = value.layout == torch.strided and value.dtype == own[name].dtype
        # Whole numbers are indices that follow from the configuration; they are not trained.
        if sound and value.is_floating_point():
            sound = bool(value.isfinite().all())
        elif sound:
            sound = torch.equal(value, own[name].cpu())
        if not sound:
            raise UserError(
                f"checkpoint: '{name}' is not what was written (another number format, not finite, or an "
                "index that the configuration contradicts); the file is damaged."
            )
    present = fingerprint(module)
    if present != trained_with:
        raise UserError(
            "checkpoint: the frozen weights (diffusion model, CLIP) are not those it was trained with "
            f"(fingerprint {present}, in training {trained_with}). Give the same pretrained weights. "
            "Random ones are drawn by the processor: one with AVX2 and one without draw others."
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
    check_archive(path, setting)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged archive makes torch raise almost anything.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{setting}: '{path}' cannot be read safely: {reason}") from error
    if not isinstance(checkpoint, dict) or METADATA_KEY not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(
            f"{setting}: '{path}' was not written by modise_lightning (no '{METADATA_KEY}' entry)."
        )
    check_content(checkpoint, path, setting)
    return checkpoint


def check_content(checkpoint: Mapping[str, Any], path: Path, setting: str) -> None:
    """Check that a checkpoint has what says how to rebuild the model, and tensors.

    Args:
        checkpoint: As it was read.
        path: Where from, for messages.
        setting: The setting that named it, for messages.

    Raises:
        UserError: Names the first entry that is wrong.
    """
    try:
        _Content.model_validate(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{setting}: '{path}' is damaged: {where}: {first['msg']}.") from error


class _Metadata(BaseModel):
    """What says how to rebuild the model."""

    model_config = ConfigDict(strict=True)

    config: str
    dataset: _Dataset
    frozen_weights: str


class _Dataset(BaseModel):
    """What the training dataset says of itself."""

    model_config = ConfigDict(strict=True)

    name: str
    synthetic: bool


class _Content(BaseModel):
    """What every checkpoint must hold."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    modise_lightning: _Metadata
    state_dict: dict[str, Tensor]
