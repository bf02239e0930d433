"""A Lightning callback that writes the processor time of each epoch of a training of this library."""

from __future__ import annotations

import json
from pathlib import Path

import lightning

from peer_parts.budget import ProcessorClock, peak_memory_mb


class TrainingClock(lightning.Callback):
    """Counts an epoch from its start to its end, without the validation within it."""

    def __init__(self, path: str) -> None:
        """Take the JSON file to write at the end of the training."""
        self.path = Path(path)
        self.epochs: list[float] = []
        self._clock = ProcessorClock()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start an epoch."""
        self._clock = ProcessorClock()
        self._clock.start()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the validation out."""
        self._clock.stop()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on after it."""
        self._clock.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """End an epoch."""
        self._clock.stop()
        self.epochs.append(self._clock.seconds)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write what was counted."""
        content = {
            "epochs": self.epochs,
            "peak_memory_mb": peak_memory_mb(),
            "optimizer_steps": trainer.global_step,
        }
        self.path.write_text(json.dumps(content), encoding="utf-8")
