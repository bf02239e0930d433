"""What the training loop's glue does beside the steps."""

from typing import Any

import pytest
import torch
from torch import nn

from modise_lightning.training.lightning_module import SegmentationModule


def numbers_of(rank: int, epoch: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seed a process as every one is seeded, start an epoch, and give its next random numbers."""
    nothing: Any = nn.Identity()
    module = SegmentationModule(
        segmenter=nothing,
        criterion=nothing,
        inference=nothing,
        optimizer_factory=nothing,
        metadata={},
        seed=7,
    )
    monkeypatch.setattr(SegmentationModule, "global_rank", rank)
    monkeypatch.setattr(SegmentationModule, "current_epoch", epoch)
    torch.manual_seed(7)
    module.on_train_epoch_start()
    return [float(number) for number in torch.rand(100)]


def test_each_process_draws_its_own_points_and_always_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [numbers_of(rank, epoch, monkeypatch) for epoch in (0, 1) for rank in range(4)]
    assert drawn[0] == drawn[4]  # the first process goes on with its state, which checkpoints have
    assert len({number for numbers in drawn[:4] + drawn[5:] for number in numbers}) > 690
    assert drawn == [numbers_of(rank, epoch, monkeypatch) for epoch in (0, 1) for rank in range(4)]
    torch.manual_seed(7)
    assert drawn[0] == torch.rand(100).tolist()  # one process draws what it always drew
