"""Windows cover every pixel once or more, and their features come back to where they were cut from."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modise_lightning.backbones.windows import (
    count_windows,
    join_pyramids,
    merge_windows,
    split_into_windows,
)
from modise_lightning.structures import FeaturePyramid

STRIDES = (4, 8, 16, 32)


def pyramid_of(images: Tensor) -> FeaturePyramid:
    """Features that say exactly what is where: each cell is the sum of its pixels."""
    return FeaturePyramid(*(F.avg_pool2d(images, stride, divisor_override=1) for stride in STRIDES))


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    size=st.sampled_from([32, 64, 96]),
    batch=st.integers(1, 3),
)
def test_merging_undoes_splitting(height: int, width: int, size: int, batch: int) -> None:
    images = torch.randint(0, 9, (batch, 3, height, width)).double()
    windows, offsets = split_into_windows(images, size)
    assert windows.shape == (batch * len(offsets), 3, size, size)
    assert count_windows(height, width, size) == len(offsets)
    assert all(y % 32 == 0 and x % 32 == 0 for y, x in offsets)
    merged = merge_windows(pyramid_of(windows), offsets, batch, (height, width))
    padded = F.pad(images, (0, -width % 32, 0, -height % 32))
    for level, expected, stride in zip(merged.levels, pyramid_of(padded).levels, STRIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        torch.testing.assert_close(level, expected[..., :rows, :columns], rtol=0, atol=0)


def test_the_last_window_is_shifted_inwards() -> None:
    images = torch.rand(2, 3, 64, 160)
    windows, offsets = split_into_windows(images, 64)
    assert offsets == [(0, 0), (0, 64), (0, 96)]
    assert torch.equal(windows[5], images[1, :, :, 96:160])


def test_small_images_are_padded_on_the_right_and_at_the_bottom() -> None:
    images = torch.rand(1, 3, 32, 64)
    windows, offsets = split_into_windows(images, 96)
    assert offsets == [(0, 0)]
    assert torch.equal(windows[:, :, :32, :64], images)
    assert not windows[:, :, 32:].any()
    assert not windows[:, :, :, 64:].any()


def test_overlapping_features_are_averaged() -> None:
    """64 x 96 pixels in 64-pixel windows: at stride 32, the middle column of three is in both."""
    levels = [torch.zeros(2, 1, 64 // stride, 64 // stride) for stride in STRIDES]
    levels[3] = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[20.0, 5.0], [40.0, 6.0]]]])
    merged = merge_windows(FeaturePyramid(*levels), [(0, 0), (0, 32)], 1, (64, 96))
    assert torch.equal(merged.s5, torch.tensor([[[[1.0, 11.0, 5.0], [3.0, 22.0, 6.0]]]]))


class Written(TorchDispatchMode):
    """Counts the numbers that operators write."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self.count += sum(each.numel() for each in tree_leaves(found) if isinstance(each, Tensor))
        return found


def test_merging_and_its_gradient_grow_with_the_pixels() -> None:
    written = []
    for side in (4, 16):
        windows, offsets = split_into_windows(torch.rand(1, 3, 32 * side - 16, 32 * side), 32)
        levels = [level.requires_grad_() for level in pyramid_of(windows).levels]
        with Written() as counter:
            merged = merge_windows(FeaturePyramid(*levels), offsets, 1, (32 * side - 16, 32 * side))
            sum(level.sum() for level in merged.levels).backward()
        written.append(counter.count)
    assert written[1] < 16 * 1.1 * written[0]


def test_one_window_is_not_copied() -> None:
    images = torch.rand(2, 3, 64, 64)
    windows, offsets = split_into_windows(images, 64)
    assert windows is images
    pyramid = pyramid_of(windows)
    merged = merge_windows(pyramid, offsets, 2, (64, 64))
    assert merged.s2.data_ptr() == pyramid.s2.data_ptr()
    assert merged.s2.shape == pyramid.s2.shape


@pytest.mark.parametrize("size", [(64, 96), (128, 64), (32, 32)])
def test_gradients_reach_every_window_cell(size: tuple[int, int]) -> None:
    windows, offsets = split_into_windows(torch.rand(1, 3, *size), 64)
    levels = [torch.rand(len(windows), 2, 64 // s, 64 // s, requires_grad=True) for s in STRIDES]
    merged = merge_windows(FeaturePyramid(*levels), offsets, 1, size)
    sum(level.sum() for level in merged.levels).backward()
    for level, stride in zip(levels, STRIDES, strict=True):
        assert level.grad is not None
        # Every cell of the image has weight one in all.
        assert level.grad.sum() == pytest.approx(2 * size[0] * size[1] / stride**2)


def test_pyramids_of_some_windows_each_are_joined() -> None:
    whole = pyramid_of(torch.rand(5, 3, 64, 64))
    parts = [FeaturePyramid(*(level[rows] for level in whole.levels)) for rows in ([0, 1], [2, 3], [4])]
    for level, expected in zip(join_pyramids(parts).levels, whole.levels, strict=True):
        assert torch.equal(level, expected)
    assert join_pyramids([whole]) is whole
