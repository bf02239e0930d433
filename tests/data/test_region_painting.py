"""Overlapping regions in one map, by hand."""

from __future__ import annotations

import numpy as np

from modise_lightning.data.region_painting import paint_regions
from modise_lightning.data.via_shapes import CroppedMask


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
