"""The recorded numbers, as tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RECORDED = Path(__file__).parent / "recorded"
Numbers = dict[str, Tensor]


def read(name: str) -> Numbers:
    """Read a file of them, all as float32."""
    with np.load(RECORDED / f"{name}.npz", allow_pickle=False) as numbers:
        tensors = {key: torch.from_numpy(numbers[key]) for key in numbers.files}
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}
