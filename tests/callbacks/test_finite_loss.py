"""A loss that is no number stops the training with one clear line."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modise_lightning.callbacks.finite_loss import FiniteLoss
from modise_lightning.errors import UserError
from modise_lightning.structures import Batch, ImageRecord


def batch() -> Batch:
    record = ImageRecord(1, "P1_L_CC.png", "P1", 8, 8)
    return Batch(torch.zeros(1, 3, 8, 8), [(8, 8)], [], [record])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_it_names_step_and_images(value: float) -> None:
    callback = FiniteLoss()
    trainer: Any = SimpleNamespace(global_step=7)
    module: Any = None
    callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(value)}, batch(), 0)
    with pytest.raises(UserError, match=r"step 7 \(images P1_L_CC\.png\).*optimizer\.learning_rate"):
        callback.on_validation_start(trainer, module)


def test_a_finite_loss_passes() -> None:
    callback = FiniteLoss()
    trainer: Any = SimpleNamespace(global_step=7)
    module: Any = None
    for index in range(3):
        callback.on_train_batch_end(trainer, module, {"loss": torch.tensor(1.0)}, batch(), index)
    callback.on_train_epoch_end(trainer, module)
