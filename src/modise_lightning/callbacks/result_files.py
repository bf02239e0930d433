"""Hands the test's results over as soon as they are measured, before anything is drawn of them."""

from __future__ import annotations

from collections.abc import Callable

import lightning

from modise_lightning.callbacks.evaluation import Evaluation
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.result import EvaluationResult


class ResultFiles(lightning.Callback):
    """Writes the results; pictures that fail, or take all memory, come after it."""

    def __init__(
        self, evaluation: Evaluation, write: Callable[[EvaluationResult, EvaluationRecords], None]
    ) -> None:
        """Keep what to write with.

        Args:
            evaluation: Stands before this callback in the trainer's list, and all pictures behind it.
            write: Writes the result and the records of a test, in the first process.
        """
        self.evaluation = evaluation
        self.write = write

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the results."""
        if trainer.is_global_zero:
            self.write(self.evaluation.results["test"], self.evaluation.records["test"])
