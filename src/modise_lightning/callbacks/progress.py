"""The progress bar: the epoch's and, beside it, when the whole training will be done."""

from __future__ import annotations

import time
from datetime import timedelta

import lightning
from lightning.pytorch.callbacks import RichProgressBar


class TrainingProgress(RichProgressBar):
    """Lightning's rich progress bar with the time until the whole training ends."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._started = (time.monotonic(), trainer.global_step)
        super().on_train_start(trainer, pl_module)

    def get_metrics(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Add the remaining time, from the mean time of the steps so far, validation included."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if trainer.training:
            start, first_step = self._started
            done = trainer.global_step - first_step
            left = int(trainer.estimated_stepping_batches) - trainer.global_step
            if done > 0:
                seconds = (time.monotonic() - start) / done * left
                metrics["training ends in"] = str(timedelta(seconds=round(seconds)))
        return metrics
