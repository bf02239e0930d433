"""Draws each evaluation's curves, and the test's confusion of classes, as files and for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import lightning
import numpy as np
from numpy.typing import NDArray

from modise_lightning.callbacks.evaluation import Evaluation
from modise_lightning.callbacks.tensorboard_pictures import add_picture, add_results
from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.reporting.evaluation_charts import draw_confusion, draw_threshold_curves
from modise_lightning.reporting.files import write_png_atomically
from modise_lightning.reporting.pictures.attempt import attempt_picture
from modise_lightning.structures import Category


class EvaluationCharts(lightning.Callback):
    """Draws what the evaluation found; the files hold the last validation and the last test."""

    def __init__(
        self, evaluation: Evaluation, *, folder: str, categories: Sequence[Category], note: str | None
    ) -> None:
        """Keep what to draw.

        Args:
            evaluation: Stands before this callback in the trainer's list.
            folder: Where the pictures go.
            categories: Names and colours of the classes.
            note: A line in each title (that the data is synthetic, or its attribution).
        """
        self.evaluation = evaluation
        self.folder = Path(folder)
        self.categories = tuple(categories)
        self.note = note

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Draw the curves."""
        if not trainer.sanity_checking and trainer.is_global_zero:
            self._draw_curves(trainer, "validation")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draw the curves and the confusion of classes."""
        if not trainer.is_global_zero:
            return
        self._draw_curves(trainer, "test")
        result, records = self.evaluation.results["test"], self.evaluation.records["test"]
        add_results(trainer, {f"test/{name}": value for name, value in result.summary().items()})

        def draw() -> NDArray[np.uint8]:
            confusion = count_confusion(
                records, category_names=result.category_names, threshold=result.best_threshold
            )
            return draw_confusion(confusion, self._title("test"))

        self._show(trainer, "test", "confusion", draw)

    def _draw_curves(self, trainer: lightning.Trainer, split: str) -> None:
        result = self.evaluation.results[split]
        self._show(
            trainer,
            split,
            "curves",
            lambda: draw_threshold_curves(result, self.categories, self._title(split)),
        )

    def _title(self, split: str) -> str:
        return split if self.note is None else f"{split}: {self.note}"

    def _show(
        self, trainer: lightning.Trainer, split: str, what: str, draw: Callable[[], NDArray[np.uint8]]
    ) -> None:
        with attempt_picture(f"{split}_{what}.png"):
            picture = draw()
            write_png_atomically(self.folder / f"{split}_{what}.png", picture)
            add_picture(trainer, f"{split}/{what}", picture)
