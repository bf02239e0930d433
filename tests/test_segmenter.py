"""The windows of an image in one batch, in several, or one by one give the same features and gradients."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import interpolate

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


@torch.no_grad()
@pytest.mark.parametrize("shape", [(64, 160), (64, 64), (96, 64), (128, 192)])
def test_images_smaller_than_a_window_are_enlarged(
    shape: tuple[int, int], compose_config: Compose, tmp_path: Path
) -> None:
    """As ODISE's slides: crops of the shorter side, enlarged; features at the crop's own grid."""
    overrides = ["backbone.window_size=128", "backbone.enlarge_small_images=true"]
    segmenter = build_segmenter(compose_config("train", overrides, tmp_path)).eval()
    captioner = segmenter.captioner
    assert captioner is not None
    for gate in (captioner.get_parameter("context.gate"), captioner.get_parameter("time_embedding.gate")):
        gate.fill_(0.5)
    images = torch.rand(1, 3, *shape)
    found = segmenter.extract_features(images)
    crop = min(128, *shape)
    totals = [torch.zeros_like(level) for level in found.levels]
    counts = [torch.zeros_like(level) for level in found.levels]
    rows, columns = (range(0, max(side - crop + crop - 1, 0) // crop + 1) for side in shape)
    for y, x in itertools.product(rows, columns):
        top, left = min(y * crop, shape[0] - crop), min(x * crop, shape[1] - crop)
        window = images[..., top : top + crop, left : left + crop]
        enlarged = interpolate(window, (128, 128), mode="bicubic")
        taps: list[Tensor] = []
        hook = segmenter.backbone.get_submodule("projection").register_forward_pre_hook(
            lambda module, inputs, taps=taps: taps.extend(inputs[0])
        )
        segmenter.backbone(enlarged, captioner(enlarged))
        hook.remove()
        levels = segmenter.backbone.get_submodule("projection")(taps, (crop, crop)).levels
        for total, count, level, stride in zip(totals, counts, levels, (4, 8, 16, 32), strict=True):
            place = (
                ...,
                slice(top // stride, (top + crop) // stride),
                slice(left // stride, (left + crop) // stride),
            )
            total[place] += level
            count[place] += 1
    for level, total, count in zip(found.levels, totals, counts, strict=True):
        torch.testing.assert_close(level, total / count, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("overrides", [["backbone.window_size=64"], ["backbone.window_size=null"], []])
def test_images_of_different_sizes_together_give_what_each_gives_alone(
    overrides: list[str], compose_config: Compose, tmp_path: Path
) -> None:
    segmenter = build_segmenter(compose_config("train", overrides, tmp_path)).eval()
    generator = torch.Generator().manual_seed(0)
    groups = [torch.rand(*shape, generator=generator) for shape in ((2, 3, 64, 160), (1, 3, 96, 64))]
    calls: list[int] = []
    segmenter.backbone.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    together = segmenter.predict_groups(groups)
    if overrides == ["backbone.window_size=64"]:
        assert calls == [2 * 3 + 2]  # all windows at once
    for images, found in zip(groups, together, strict=True):
        alone = segmenter(images, final_only=True)
        torch.testing.assert_close(found.class_logits, alone.class_logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.mask_logits(), alone.mask_logits(), rtol=1e-3, atol=1e-3)
