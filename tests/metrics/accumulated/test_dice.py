"""Dice by hand and against a definition with sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.metrics.accumulated.dice import SegmentationDice
from modise_lightning.structures import PanopticSegmentation


def dice(reduction: Literal["pooled", "by_image"], num_categories: int = 2) -> SegmentationDice:
    return SegmentationDice(num_categories=num_categories, reduction=reduction)


# Row of four pixels, two images. Class of each pixel (- background):
#   image 1: predicted 0 0 1 -, true 0 - 1 1;   image 2: predicted 0 - - -, true - - - -.
# The second pixel is surely a lesion, but of no class surely; the last one is as surely background as not.
SEMANTIC = [
    torch.tensor([[[0.9, 0.45, 0.1, 0.5]], [[0.2, 0.3, 0.7, 0.0]]]),
    torch.tensor([[[0.6, 0.4, 0.3, 0.2]], [[0.1, 0.1, 0.1, 0.1]]]),
]
TARGETS = [
    PanopticSegmentation(torch.tensor([[1, 0, 2, 3]]), torch.tensor([0, 1, 1])),
    PanopticSegmentation(torch.tensor([[0, 0, 0, 0]]), torch.tensor([], dtype=torch.int64)),
]


def test_pooled_by_hand() -> None:
    metric = dice("pooled")
    metric.update(SEMANTIC, TARGETS)
    result = metric.compute()
    # Class 0: |A| = 3, |B| = 1, both 1. Class 1: |A| = 1, |B| = 2, both 1.
    assert result.by_category.tolist() == pytest.approx([2 / 4, 2 / 3])
    assert float(result.mean) == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_by_image_by_hand() -> None:
    metric = dice("by_image")
    metric.update(SEMANTIC, TARGETS)
    # Class 0: 2/3 in image 1, 0 in image 2. Class 1: 2/3 in image 1, does not occur in image 2.
    assert metric.compute().by_category.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_void_is_left_out() -> None:
    metric = dice("pooled")
    target = PanopticSegmentation(torch.tensor([[1, -1, 2, -1]]), torch.tensor([0, 1]))
    metric.update(SEMANTIC[:1], [target])
    assert metric.compute().by_category.tolist() == [1.0, 1.0]


def test_classes_that_do_not_occur_are_left_out() -> None:
    metric = dice("pooled", num_categories=3)
    padded = [torch.cat([values, torch.zeros(1, 1, 4)]) for values in SEMANTIC]
    metric.update(padded, TARGETS)
    result = metric.compute()
    assert result.by_category[2].isnan()
    assert float(result.mean) == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_nothing_at_all_is_undefined() -> None:
    metric = dice("pooled")
    metric.update([torch.zeros(2, 1, 4)], TARGETS[1:])
    assert metric.compute().mean.isnan()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_equals_the_definition(make_pair: Callable[..., Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    metrics = {"pooled": dice("pooled", 3), "by_image": dice("by_image", 3)}
    counts = []
    for image in range(3):
        target = make_pair(seed + image)[1]
        semantic = torch.rand(3, 16, 16, generator=generator) / 2
        for metric in metrics.values():
            metric.update([semantic], [target])
        row = []
        for label in range(3):
            true = torch.zeros(16, 16, dtype=torch.bool)
            for mask, name in zip(target.masks, target.labels.tolist(), strict=True):
                true |= mask & torch.tensor(name == label)
            background = 1 - semantic[0] - semantic[1] - semantic[2]
            others = semantic[[k for k in range(3) if k != label]].amax(0).maximum(background)
            predicted = (semantic[label] > others) & (target.segment_ids != -1)
            row.append((2 * int((true & predicted).sum()), int(true.sum()) + int(predicted.sum())))
        counts.append(row)
    for label in range(3):
        images = [row[label] for row in counts]
        pooled = sum(n for n, _ in images) / sum(d for _, d in images)
        by_image = [n / d for n, d in images if d]
        assert float(metrics["pooled"].compute().by_category[label]) == pytest.approx(pooled)
        assert float(metrics["by_image"].compute().by_category[label]) == pytest.approx(
            sum(by_image) / len(by_image)
        )


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"semantic must be \(2, 1, 4\)"):
        dice("pooled").update([torch.zeros(2, 4, 1)], TARGETS[:1])
