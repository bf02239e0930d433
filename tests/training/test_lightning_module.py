"""What the training loop's glue does beside the steps."""

from typing import Any

import pytest
import torch
from torch import nn

from modise_lightning.training.lightning_module import SegmentationModule


def numbers_of(rank: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seed a process as every one is seeded, start the training, and give its next random numbers."""
    nothing: Any = nn.Identity()
    module = SegmentationModule(
        segmenter=nothing, criterion=nothing, inference=nothing, optimizer_factory=nothing, metadata={}
    )
    monkeypatch.setattr(SegmentationModule, "global_rank", rank)
    torch.manual_seed(7)
    module.on_train_start()
    return [float(number) for number in torch.rand(100)]


def test_each_process_draws_its_own_points_and_always_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [numbers_of(rank, monkeypatch) for rank in range(4)]
    assert len({number for numbers in drawn for number in numbers}) > 395
    assert drawn == [numbers_of(rank, monkeypatch) for rank in range(4)]
    torch.manual_seed(7)
    assert drawn[0] == torch.rand(100).tolist()  # one process draws what it always drew
