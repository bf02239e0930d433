"""Stops a training whose loss is no longer a number."""

from __future__ import annotations

from typing import Any, cast

import lightning
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from modise_lightning.errors import UserError
from modise_lightning.structures import Batch


class FiniteLoss(lightning.Callback):
    """Stops at the first loss that is not finite, before a checkpoint can hold its weights.

    Each loss is looked at one step late, when the accelerator has it ready, so that no step waits.
    """

    def __init__(self) -> None:
        """Remember no loss yet."""
        self._last: tuple[Tensor, int, list[str]] | None = None

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Look at the last step's loss and keep this one's."""
        self._check()
        names = [record.file_name for record in batch.records]
        self._last = (cast(dict[str, Any], outputs)["loss"].detach(), trainer.global_step, names)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look before validation, where checkpoints are written."""
        self._check()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look before an epoch's end, where checkpoints are written."""
        self._check()

    def _check(self) -> None:
        if self._last is None:
            return
        loss, step, names = self._last
        self._last = None
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is {loss.item()} at step {step} (images {', '.join(names)}). Try a lower "
                "optimizer.learning_rate, a longer optimizer.warmup_steps, or trainer.precision=32-true; the "
                "last good weights are in the run's checkpoints folder."
            )
