"""Saved generators continue as they would have, through a file that needs no unpickling."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modise_lightning.callbacks.random_state import RandomState


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_generators_continue_exactly(tmp_path: Path) -> None:
    random.gauss(0, 1)  # leaves a cached value behind
    np.random.randn()
    path = tmp_path / "state.pt"
    torch.save(RandomState().state_dict(), path)
    expected = draw()
    draw()
    callback = RandomState()
    callback.load_state_dict(torch.load(path, weights_only=True))
    nothing: Any = None
    callback.on_train_start(nothing, nothing)
    assert draw() == expected
