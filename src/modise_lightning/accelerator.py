"""The device that ``auto`` stands for: an accelerator if there is one, else the processor."""

from __future__ import annotations

import torch


def automatic_device() -> torch.device:
    """Give the accelerator that can be used now, or the processor."""
    # Alone it names what PyTorch was built for, whether or not it is there.
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if accelerator is None else torch.device(accelerator.type)
