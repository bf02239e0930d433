"""Measures predictions on the validation and test splits and logs the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import lightning
import numpy as np
from lightning.pytorch.utilities.types import STEP_OUTPUT

from modise_lightning.metrics.evaluation import EvaluationResult, SegmentationMetrics
from modise_lightning.metrics.records import EvaluationRecords
from modise_lightning.structures import Batch, Prediction


class Evaluation(lightning.Callback):
    """Feeds the module's predictions to the metrics.

    Attributes:
        results: The last result of each split, ``validation`` and ``test``.
        records: What the last test found in each image, under ``test``.
    """

    def __init__(self, metrics: SegmentationMetrics) -> None:
        """Take the metrics to compute."""
        self.metrics = metrics
        self.recorder = metrics.recorder()
        self.results: dict[str, EvaluationResult] = {}
        self.records: dict[str, EvaluationRecords] = {}

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start afresh."""
        self._reset(pl_module)

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start afresh."""
        self._reset(pl_module)
        self.recorder.reset()

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare a batch of predictions with the ground truth."""
        self._update(outputs, batch)

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: STEP_OUTPUT,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare a batch of predictions with the ground truth, and keep what is found in each image."""
        self.recorder.update(batch.records, self._update(outputs, batch), batch.targets)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log the results of the validation split."""
        if not trainer.sanity_checking:
            self._log("validation", pl_module)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the results of the test split, and gather its records."""
        self._log("test", pl_module)
        result = self.results["test"]
        self.records["test"] = self.recorder.compute(result.best_threshold)
        self.results["test"] = self.metrics.with_clinical(result, self.records["test"])

    def _reset(self, pl_module: lightning.LightningModule) -> None:
        self.metrics.to(pl_module.device)
        self.metrics.reset()

    def _update(self, outputs: STEP_OUTPUT, batch: Batch) -> Sequence[Prediction]:
        predictions: Sequence[Prediction] = cast(dict[str, Any], outputs)["predictions"]
        self.metrics.update(predictions, batch.targets)
        return predictions

    def _log(self, split: str, pl_module: lightning.LightningModule) -> None:
        result = self.metrics.compute()
        self.results[split] = result
        # Computed from reduced states, so that every process logs the same numbers.
        values = {
            **result.summary(),
            **result.summary_by_category(),
            "mean_average_precision": float(np.mean(result.average_precision)),
        }
        pl_module.log_dict({f"{split}/{name}": value for name, value in values.items()}, rank_zero_only=False)
