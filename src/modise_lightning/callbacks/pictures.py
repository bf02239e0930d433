"""Saves comparison pictures of the first test images: ground truth beside the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import lightning

from modise_lightning.callbacks.evaluated_batches import EvaluatedBatches
from modise_lightning.callbacks.tensorboard_pictures import add_picture
from modise_lightning.callbacks.whole_image import whole_image
from modise_lightning.reporting.comparison import ComparisonRow, draw_comparison
from modise_lightning.reporting.files import write_png_atomically
from modise_lightning.reporting.pictures.attempt import attempt_picture
from modise_lightning.structures import Batch, Category, Prediction


class PredictionPictures(EvaluatedBatches):
    """Draws the first images of the test split and saves them in pages of a few rows."""

    def __init__(
        self,
        *,
        folder: str,
        num_images: int,
        rows_per_picture: int,
        categories: Sequence[Category],
        note: str | None,
    ) -> None:
        """Keep what to draw.

        Args:
            folder: Where the pictures go.
            num_images: How many test images are drawn.
            rows_per_picture: Images a picture.
            categories: Names and colours.
            note: A line under each picture (that the data is synthetic, or its attribution).
        """
        self.folder = Path(folder)
        self.num_images = num_images
        self.rows_per_picture = rows_per_picture
        self.categories = tuple(categories)
        self.note = note
        self._rows: list[ComparisonRow] = []

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start afresh."""
        self._rows = []

    def on_evaluated_batch(
        self,
        split: Literal["validation", "test"],
        trainer: lightning.Trainer,
        predictions: Sequence[Prediction],
        batch: Batch,
    ) -> None:
        """Keep what the pictures show of a batch."""
        if not trainer.is_global_zero or split != "test":
            return
        for index, prediction in enumerate(predictions):
            if len(self._rows) == self.num_images:
                return
            with attempt_picture(f"test of {batch.records[index].file_name}"):
                self._rows.append(
                    ComparisonRow(
                        name=batch.records[index].file_name,
                        image=whole_image(batch, index),
                        target=batch.targets[index],
                        # All that is shown of many classes' maps, which together need much memory.
                        prediction=replace(
                            prediction, semantic=prediction.semantic.amax(dim=0, keepdim=True)
                        ),
                    )
                )

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw and save the pictures."""
        for start in range(0, len(self._rows), self.rows_per_picture):
            rows = self._rows[start : start + self.rows_per_picture]
            name = f"{start // self.rows_per_picture:03d}"
            with attempt_picture(f"test_{name}.png"):
                picture = draw_comparison(rows, self.categories, self.note)
                write_png_atomically(self.folder / f"test_{name}.png", picture)
                add_picture(trainer, f"test/predictions_{name}", picture)
        self._rows = []
