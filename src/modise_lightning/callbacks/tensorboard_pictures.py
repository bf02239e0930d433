"""Hands pictures and results to the TensorBoard loggers of a trainer."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray


def add_picture(trainer: lightning.Trainer, tag: str, picture: NDArray[np.uint8]) -> None:
    """Show an (H, W, 3) RGB picture at the trainer's step; without a ``TensorBoardLogger`` do nothing."""
    for logger in _loggers(trainer):
        logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")


def add_results(trainer: lightning.Trainer, results: Mapping[str, float]) -> None:
    """Show results beside the settings that the loggers have been given, so that runs can be compared."""
    for logger in _loggers(trainer):
        logger.log_hyperparams(logger.hparams, metrics=dict(results))


def _loggers(trainer: lightning.Trainer) -> list[TensorBoardLogger]:
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
