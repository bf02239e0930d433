"""The windows of an image in one batch, in several, or one by one give the same features and gradients."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from modise_lightning.configuration.assembly import build_segmenter
from modise_lightning.errors import UserError
from modise_lightning.segmenter import Segmenter

Compose = Callable[..., DictConfig]


def features_and_gradients(segmenter: Segmenter, images: Tensor) -> list[Tensor]:
    segmenter.zero_grad()
    levels = segmenter.extract_features(images).levels
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    trained = [parameter for parameter in segmenter.backbone.parameters() if parameter.requires_grad]
    assert segmenter.captioner is not None
    trained += [parameter for parameter in segmenter.captioner.parameters() if parameter.requires_grad]
    return [*levels, *(parameter.grad for parameter in trained if parameter.grad is not None)]


def test_any_number_of_windows_at_a_time_gives_the_same(compose_config: Compose, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 64, 160, generator=torch.Generator().manual_seed(0))
    results, seen = [], []
    for number in ("null", "4", "1"):
        overrides = ["backbone.window_size=64", f"backbone.max_windows={number}"]
        torch.manual_seed(0)
        segmenter = build_segmenter(compose_config("train", overrides, tmp_path))
        calls: list[int] = []
        segmenter.backbone.register_forward_pre_hook(
            lambda module, inputs, calls=calls: calls.append(len(inputs[0]))
        )
        results.append(features_and_gradients(segmenter, images))
        seen.append(calls)
    assert seen == [[6], [4, 2], [1] * 6]
    assert len(results[0]) > 10
    for other in results[1:]:
        for index, (found, expected) in enumerate(zip(other, results[0], strict=True)):
            # Operators round by the size of the batch, and where that changes a ReLU's sign, gradients differ
            # by more: 0.5 % of single ones in float32, 2e-15 in float64.
            tolerance = 1e-5 if index < 4 else 0.02
            assert (found - expected).norm() <= tolerance * expected.norm()


def test_no_windows_at_a_time_is_refused(compose_config: Compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backbone\.max_windows: expected at least 1 or null, found 0"):
        build_segmenter(compose_config("train", ["backbone.max_windows=0"], tmp_path))
