"""Measures predictions on the validation and test splits and logs the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import lightning
import numpy as np

from modise_lightning.callbacks.evaluated_batches import EvaluatedBatches
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.structures import Batch, Prediction


class Evaluation(EvaluatedBatches):
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

    def on_evaluated_batch(
        self,
        split: Literal["validation", "test"],
        trainer: lightning.Trainer,
        predictions: Sequence[Prediction],
        batch: Batch,
    ) -> None:
        """Compare predictions with the ground truth; of the test keep what is found in each image."""
        image_ids = [record.image_id for record in batch.records]
        self.metrics.update(predictions, batch.targets, image_ids)
        if split == "test":
            self.recorder.update(batch.records, predictions, batch.targets)

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
