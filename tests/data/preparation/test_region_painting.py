"""Overlapping regions in one map, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.data.preparation.region_painting import Painting, paint_regions, why_too_many
from modise_lightning.data.preparation.via_shapes import CroppedMask


def box(top: int, left: int, height: int, width: int) -> CroppedMask:
    return CroppedMask(top, left, np.ones((height, width), dtype=bool))


def test_smaller_regions_are_on_top_whatever_their_order() -> None:
    painting = paint_regions([box(4, 4, 2, 2), box(0, 0, 10, 10), box(3, 3, 5, 5)], 12, 12, 0.05)
    assert painting.segment_ids[5, 5] == 1
    assert painting.segment_ids[0, 0] == 2
    assert painting.segment_ids[3, 3] == 3
    assert painting.segment_ids[11, 11] == 0
    assert painting.areas == [4, 100, 25]
    assert painting.visible == [4, 75, 21]
    assert (painting.kept, painting.dropped) == ([0, 1, 2], [])


def test_a_region_under_the_fraction_is_dropped_and_its_pixels_go_to_what_lies_below() -> None:
    # The middle one keeps 4 of 100 pixels; without it they belong to the largest.
    painting = paint_regions([box(0, 0, 20, 20), box(5, 5, 10, 10), box(5, 5, 8, 12)], 20, 20, 0.25)
    assert painting.dropped == [1]
    assert painting.visible[1] == 20
    assert painting.kept == [0, 2]
    assert painting.segment_ids[14, 5] == 1
    assert painting.segment_ids[5, 5] == 2
    assert np.unique(painting.segment_ids).tolist() == [1, 2]
    assert (painting.segment_ids == 1).sum() == 400 - 96


def test_exactly_the_fraction_is_enough() -> None:
    regions = [box(0, 0, 10, 10), box(0, 0, 10, 9), box(0, 9, 1, 5)]
    assert paint_regions(regions, 20, 20, 0.09).dropped == []
    assert paint_regions(regions, 20, 20, 0.0901).dropped == [0]


def test_of_equal_regions_the_later_is_on_top() -> None:
    painting = paint_regions([box(0, 0, 4, 4), box(0, 2, 4, 4)], 8, 8, 0.05)
    assert painting.visible == [8, 16]


def test_dropping_one_may_save_another() -> None:
    # Two almost equal regions hide each other and a third: the most hidden one goes first.
    regions = [box(0, 0, 10, 10), box(0, 0, 10, 10), box(0, 0, 9, 10)]
    painting = paint_regions(regions, 10, 10, 0.05)
    assert painting.dropped == [0]
    assert painting.visible == [0, 10, 90]


def test_no_regions_give_an_empty_map() -> None:
    painting = paint_regions([], 5, 7, 0.05)
    assert painting.segment_ids.shape == (5, 7)
    assert not painting.segment_ids.any()


def paint_anew(masks: Sequence[CroppedMask], height: int, width: int, fraction: float) -> Painting:
    """The definition: all that is left is painted again after each drop."""
    areas = [mask.area for mask in masks]
    order = sorted(range(len(masks)), key=lambda index: (-areas[index], index))
    visible, dropped = [0] * len(masks), []
    while True:
        ids = np.zeros((height, width), dtype=np.int32)
        for index in order:
            ids[masks[index].window][masks[index].mask] = index + 1
        for index in order:
            visible[index] = int((ids == index + 1).sum())
        hidden = min(order, key=lambda index: visible[index] / areas[index], default=None)
        if hidden is None or visible[hidden] >= fraction * areas[hidden]:
            break
        order.remove(hidden)
        dropped.append(hidden)
    kept = sorted(order)
    table = np.zeros(len(masks) + 1, dtype=np.int32)
    for number, index in enumerate(kept, start=1):
        table[index + 1] = number
    return Painting(table[ids], kept, sorted(dropped), areas, visible)


@settings(max_examples=150, deadline=None)
@given(
    number=st.integers(0, 25),
    fraction=st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_uncovering_equals_painting_anew(number: int, fraction: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = []
    for _ in range(number):
        height, width = generator.integers(1, 12, 2)
        top, left = generator.integers(0, 16 - height), generator.integers(0, 20 - width)
        mask = generator.random((height, width)) < generator.choice([0.3, 1.0])
        mask[0, 0] = True
        masks.append(CroppedMask(int(top), int(left), mask))
    found, expected = paint_regions(masks, 16, 20, fraction), paint_anew(masks, 16, 20, fraction)
    assert np.array_equal(found.segment_ids, expected.segment_ids)
    for name in ("kept", "dropped", "areas", "visible"):
        assert getattr(found, name) == getattr(expected, name)


@pytest.mark.parametrize(
    ("number", "box_pixels", "told"),
    [
        (1000, 20 * 30, None),
        (1001, 30, "it has 1001 regions, more than 1000"),
        (25, 20 * 30 + 1, "the boxes around its regions have more than 20 times its pixels"),
    ],
)
def test_more_regions_than_can_be_painted_are_told(number: int, box_pixels: int, told: str | None) -> None:
    assert why_too_many(number, box_pixels, 5, 6) == told
