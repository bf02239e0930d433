"""From the name of a torch device to what Lightning's trainer is told."""

from __future__ import annotations

from typing import Any

import torch

from modise_lightning.accelerator import automatic_device
from modise_lightning.errors import UserError


def accelerator_of(device: str, devices: int | str) -> dict[str, Any]:
    """Give the trainer's arguments for a device.

    Args:
        device: ``auto``, or a torch device: ``cpu``, ``mps``, ``cuda``, ``cuda:1``.
        devices: How many, where the device has no number.

    Raises:
        UserError: It is no device that can be used.
    """
    if device == "auto":
        return {"accelerator": "auto", "devices": devices}
    found = _check(device)
    chosen: int | str | list[int] = devices if found.index is None or found.type != "cuda" else [found.index]
    return {"accelerator": found.type, "devices": chosen}


def torch_device(device: str) -> torch.device:
    """Give the torch device of a name; with ``auto`` an accelerator if there is one.

    Raises:
        UserError: It is no device that can be used.
    """
    if device == "auto":
        return automatic_device()
    return _check(device)


def _check(device: str) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device: '{device}' is no torch device ({str(error).splitlines()[0]}).") from error
    if found.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"device: '{device}' is not one of cpu, cuda, mps and auto.")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device: '{device}' was asked for, but torch finds no CUDA device here.")
    return found
