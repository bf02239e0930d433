"""Hands the batches of validation and test on in one place: Lightning has a hook of its own for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, cast

import lightning
from lightning.pytorch.utilities.types import STEP_OUTPUT

from modise_lightning.structures import Batch, Prediction


class EvaluatedBatches(lightning.Callback, ABC):
    """A callback that looks at the predictions of each evaluated batch."""

    @abstractmethod
    def on_evaluated_batch(
        self,
        split: Literal["validation", "test"],
        trainer: lightning.Trainer,
        predictions: Sequence[Prediction],
        batch: Batch,
    ) -> None:
        """Look at a batch.

        Args:
            split: Of what.
            trainer: Of the evaluation.
            predictions: One an image.
            batch: The images and their ground truth.
        """

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand a batch of validation on."""
        self.on_evaluated_batch("validation", trainer, _predictions(outputs), batch)

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand a batch of the test on."""
        self.on_evaluated_batch("test", trainer, _predictions(outputs), batch)


def _predictions(outputs: STEP_OUTPUT) -> Sequence[Prediction]:
    return cast(Sequence[Prediction], cast(dict[str, Any], outputs)["predictions"])
