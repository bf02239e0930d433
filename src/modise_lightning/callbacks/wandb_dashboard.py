"""Logs each evaluation to Weights & Biases: curves and tables by class, confusion, predictions with masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import lightning
import wandb
from lightning.pytorch.loggers import WandbLogger

from modise_lightning.callbacks.evaluated_batches import EvaluatedBatches
from modise_lightning.callbacks.evaluation import Evaluation
from modise_lightning.callbacks.whole_image import whole_image
from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.reporting.pictures.attempt import attempt_picture
from modise_lightning.reporting.wandb.clinical import clinical_media
from modise_lightning.reporting.wandb.media import (
    make_category_table,
    make_confusion_chart,
    make_prediction_image,
    make_threshold_curves,
)
from modise_lightning.structures import Batch, Category, Prediction

_PREDICTION_COLUMNS: list[str | int] = [
    "image_id",
    "file_name",
    "image",
    "truth",
    "predicted",
    "dice",
    "panoptic_quality",
]


class WandbDashboard(EvaluatedBatches):
    """Hands what the evaluation found to every ``WandbLogger`` of the trainer; does nothing without one."""

    def __init__(self, evaluation: Evaluation, *, categories: Sequence[Category], num_images: int) -> None:
        """Keep what to log.

        Args:
            evaluation: Stands before this callback in the trainer's list.
            categories: Names of the classes.
            num_images: Images of a split that are logged with their predictions.
        """
        self.evaluation = evaluation
        self.categories = tuple(categories)
        self.num_images = num_images
        self._images: dict[int, wandb.Image] = {}

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start afresh."""
        self._images = {}

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start afresh."""
        self._images = {}

    def on_evaluated_batch(
        self,
        split: Literal["validation", "test"],
        trainer: lightning.Trainer,
        predictions: Sequence[Prediction],
        batch: Batch,
    ) -> None:
        """Keep the first images."""
        if not self._runs(trainer) or trainer.sanity_checking:
            return
        for index, prediction in enumerate(predictions):
            if len(self._images) == self.num_images:
                return
            record = batch.records[index]
            with attempt_picture(f"{record.file_name} of the dashboard"):
                self._images[record.image_id] = make_prediction_image(
                    whole_image(batch, index),
                    batch.targets[index],
                    prediction,
                    self.categories,
                    record.file_name,
                )

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Log curves and images."""
        if not trainer.sanity_checking and self._runs(trainer):
            with attempt_picture("validation of the dashboard"):
                media = self._curves("validation")
                self._log(trainer, {**media, "validation/predictions": list(self._images.values())})

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log curves, confusion and the table of predictions."""
        if self._runs(trainer):
            with attempt_picture("test of the dashboard"):
                self._log_test(trainer)

    def _log_test(self, trainer: lightning.Trainer) -> None:
        result, records = self.evaluation.results["test"], self.evaluation.records["test"]
        confusion = count_confusion(
            records, category_names=result.category_names, threshold=result.best_threshold
        )
        predictions = wandb.Table(columns=_PREDICTION_COLUMNS, allow_mixed_types=True)
        images = records.images.astype(object).where(records.images.notna(), None).set_index("image_id")
        for image_id, picture in self._images.items():
            found = images.loc[image_id]
            predictions.add_data(
                image_id,
                found["file_name"],
                picture,
                found["num_truth"],
                found["num_predicted"],
                found["dice"],
                found["best_panoptic_quality"],
            )
        self._log(
            trainer,
            {
                **self._curves("test"),
                "test/by_category": make_category_table(result),
                "test/confusion": make_confusion_chart(confusion),
                "test/predictions": predictions,
                **({} if result.clinical is None else clinical_media(result.clinical)),
            },
        )

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """End the run with its test, so that the next job of a multirun starts one of its own."""
        if stage == "test":
            for run in self._runs(trainer):
                run.finish()

    def _curves(self, split: str) -> dict[str, Any]:
        charts = make_threshold_curves(self.evaluation.results[split])
        return {f"{split}_by_threshold/{metric}": chart for metric, chart in charts.items()}

    def _runs(self, trainer: lightning.Trainer) -> list[Any]:
        """Give the runs to log to; none in other processes than the first."""
        if not trainer.is_global_zero:
            return []
        return [logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger)]

    def _log(self, trainer: lightning.Trainer, media: dict[str, Any]) -> None:
        for run in self._runs(trainer):
            run.log({**media, "trainer/global_step": trainer.global_step})
        self._images = {}
