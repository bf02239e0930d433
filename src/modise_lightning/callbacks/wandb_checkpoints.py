"""Keeps a run's checkpoints as artifacts of Weights & Biases, under the names best and last."""

from __future__ import annotations

import re
from pathlib import Path

import lightning
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger


class WandbCheckpoints(lightning.Callback):
    """Logs each checkpoint once training has ended; does nothing without a ``WandbLogger``.

    The artifact is named after the run. Each file is a version of it whose alias is the file's name
    (``best``, ``last``), with what it was chosen by as metadata.
    """

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the checkpoints that there are."""
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if not isinstance(logger, WandbLogger):
                continue
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, ModelCheckpoint) and callback.best_model_path:
                    _log_checkpoint(logger, callback)


def _log_checkpoint(logger: WandbLogger, callback: ModelCheckpoint) -> None:
    path = Path(callback.best_model_path)
    run = logger.experiment
    score = callback.best_model_score
    artifact = wandb.Artifact(
        # Names of artifacts hold letters, digits, dashes, underscores and dots.
        re.sub(r"[^\w.-]+", "-", f"checkpoint-{run.name}"),
        type="model",
        metadata={"monitor": callback.monitor, "score": None if score is None else float(score)},
    )
    artifact.add_file(str(path), name=path.name, policy="immutable")
    run.log_artifact(artifact, aliases=[path.stem])
