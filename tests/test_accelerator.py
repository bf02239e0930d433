"""``auto`` is an accelerator only where one can be used, with every PyTorch that may be installed."""

from __future__ import annotations

import pytest
import torch

from modise_lightning.accelerator import automatic_device


@pytest.mark.parametrize(
    ("built_for", "is_there", "expected"),
    [
        (None, False, "cpu"),
        (torch.device("cuda"), False, "cpu"),  # PyTorch for CUDA on a machine without a GPU
        (torch.device("cuda"), True, "cuda"),
        (torch.device("mps"), True, "mps"),
    ],
)
def test_automatic_device(
    built_for: torch.device | None, is_there: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: is_there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: built_for)
    assert automatic_device() == torch.device(expected)
