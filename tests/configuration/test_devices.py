"""The name of a device becomes what Lightning's trainer takes, or is refused."""

from __future__ import annotations

import pytest
import torch

from modise_lightning.configuration.devices import accelerator_of
from modise_lightning.errors import UserError


@pytest.mark.parametrize(
    ("device", "devices", "expected"),
    [
        ("auto", 1, {"accelerator": "auto", "devices": 1}),
        ("auto", "auto", {"accelerator": "auto", "devices": "auto"}),
        ("cpu", 2, {"accelerator": "cpu", "devices": 2}),
        ("mps", 1, {"accelerator": "mps", "devices": 1}),
    ],
)
def test_devices(device: str, devices: int | str, expected: dict[str, object]) -> None:
    assert accelerator_of(device, devices) == expected


def test_a_numbered_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator_of("cuda:1", 1) == {"accelerator": "cuda", "devices": [1]}
    assert accelerator_of("cuda", 4) == {"accelerator": "cuda", "devices": 4}


@pytest.mark.parametrize("device", ["tpu", "xpu", "gpu:0", ""])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(UserError, match="device: "):
        accelerator_of(device, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="finds no CUDA device"):
        accelerator_of("cuda", 1)
