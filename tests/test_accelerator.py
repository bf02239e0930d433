"""``auto`` is an accelerator only where one can be used."""

from __future__ import annotations

import pytest
import torch

from modise_lightning.accelerator import automatic_device


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_pytorch_for_gpus_takes_the_processor_where_there_is_none() -> None:
    assert automatic_device() == torch.device("cpu")


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator")
def test_an_accelerator_is_taken() -> None:
    assert automatic_device() == torch.accelerator.current_accelerator()
