"""The device that ``auto`` stands for: an accelerator if there is one, else the processor."""

from __future__ import annotations

import torch


def automatic_device() -> torch.device:
    """Give the accelerator that can be used now, or the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
