"""Keeps the state of the random number generators in checkpoints, so that a resumed run continues exactly."""

from __future__ import annotations

import random
from typing import Any

import lightning
import numpy as np
import torch


class RandomState(lightning.Callback):
    """Saves the generators of Python, NumPy and PyTorch, and restores them when training resumes."""

    def __init__(self) -> None:
        """Hold no state until a checkpoint is loaded."""
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Give the generators' states as tensors and plain values."""
        version, internal, gauss = random.getstate()
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "python": (version, torch.tensor(internal, dtype=torch.int64), gauss),
            "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._loaded = state_dict

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restore after everything that draws random numbers before the first step."""
        if self._loaded is None:
            return
        version, internal, gauss = self._loaded["python"]
        random.setstate((version, tuple(internal.tolist()), gauss))
        name, keys, position, has_gauss, cached = self._loaded["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
        torch.set_rng_state(self._loaded["torch"])
        if self._loaded["cuda"] and len(self._loaded["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self._loaded["cuda"])
        self._loaded = None
