"""Batches of images to predict are the groups that are given, shared out over the processes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from modise_lightning.data.loading.prediction import PredictionDataModule

NUMBERS: Any = [100 + index for index in range(10)]


def as_list(samples: Sequence[Any]) -> Any:
    return list(samples)


GROUPS = [[0, 1, 2], [4], [5, 9], [7, 8]]


def batches(rank: int, number: int, num_workers: int = 0) -> list[list[int]]:
    data = PredictionDataModule(
        dataset=NUMBERS, groups=GROUPS, collate=as_list, num_workers=num_workers, pin_memory=False
    )
    data.trainer = SimpleNamespace(global_rank=rank, world_size=number)  # type: ignore[assignment]
    return list(data.predict_dataloader())  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_group_is_a_batch(num_workers: int) -> None:
    expected = [[100 + index for index in group] for group in GROUPS]
    assert batches(0, 1, num_workers) == expected


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_processes_have_each_group_once(number: int) -> None:
    shared = [batches(rank, number) for rank in range(number)]
    assert sorted(batch for own in shared for batch in own) == sorted(batches(0, 1))
