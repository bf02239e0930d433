"""Hands each batch of predictions on as soon as it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from modise_lightning.images_to_predict import ImagesToPredict
from modise_lightning.structures import Prediction


class PredictionWriter(Callback):
    """Gives batches and their predictions to a function, which may write them behind the computation."""

    def __init__(self, write: Callable[[ImagesToPredict, Sequence[Prediction]], None]) -> None:
        """Take the function."""
        self._write = write

    def on_predict_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ANN401 (Lightning's signature)
        batch: ImagesToPredict,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand a batch on."""
        self._write(batch, outputs)
