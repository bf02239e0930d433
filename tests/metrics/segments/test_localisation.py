"""Boxes, centres and their agreement: torchvision, scipy, plain means, and cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass, find_objects
from torchvision.ops import box_iou as torchvision_box_iou
from torchvision.ops import masks_to_boxes

from modise_lightning.metrics.segments.localisation import Places, box_iou, centres_inside
from modise_lightning.packed_masks import PackedMasks

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, number: int = 5) -> torch.Tensor:
    """Scattered masks of a width that is no multiple of eight."""
    generator = np.random.default_rng(seed)
    masks = generator.random((number, 13, 21)) < generator.uniform(0.002, 0.3, (number, 1, 1))
    masks[:, 4, 5] = True
    return torch.from_numpy(masks)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_boxes_and_centres_are_torchvisions_and_scipys(seed: int) -> None:
    masks = draw(seed)
    places = Places.of(PackedMasks.of(masks))
    inclusive = masks_to_boxes(masks).long().numpy()  # left, top, right, bottom
    assert places.boxes.tolist() == [[t, le, b + 1, r + 1] for le, t, r, b in inclusive.tolist()]
    for mask, box, centre in zip(masks.numpy(), places.boxes, places.centres, strict=True):
        rows, columns = find_objects(mask.astype(int))[0]
        assert box.tolist() == [rows.start, columns.start, rows.stop, columns.stop]
        assert centre == pytest.approx(center_of_mass(mask))


@given(first=SEEDS, second=SEEDS)
@settings(max_examples=25, deadline=None)
def test_box_iou_is_torchvisions(first: int, second: int) -> None:
    boxes = [Places.of(PackedMasks.of(draw(seed))).boxes for seed in (first, second)]
    expected = torchvision_box_iou(*(torch.from_numpy(each[:, [1, 0, 3, 2]]).double() for each in boxes))
    np.testing.assert_allclose(box_iou(*boxes), expected.numpy())


def test_by_hand() -> None:
    """An L of 3 pixels in a box of 2 x 2; a box of 2 x 2 beside it that shares one pixel."""
    masks = torch.zeros(3, 4, 9, dtype=torch.bool)
    masks[0, 0, 0] = masks[0, 1, 0] = masks[0, 1, 1] = True
    masks[1, 1:3, 1:3] = True
    places = Places.of(PackedMasks.of(masks))
    assert places.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 0, 0]]
    assert places.centres[0] == pytest.approx((2 / 3, 1 / 3))
    assert np.isnan(places.centres[2]).all()
    assert box_iou(places.boxes, places.boxes)[0].tolist() == [1, pytest.approx(1 / 7), 0]
    assert box_iou(places.boxes, places.boxes)[2].tolist() == [0, 0, 0]


def test_masks_that_are_kept_once_have_their_own_places() -> None:
    packed = PackedMasks.of(draw(1))[torch.tensor([3, 0, 3])]
    assert Places.of(packed).boxes.tolist() == Places.of(PackedMasks.of(draw(1)[[3, 0, 3]])).boxes.tolist()


def test_centres_are_judged_where_they_lie() -> None:
    truth = np.array([[0, 1, 1], [-1, 2, 0]])
    centres = np.array([[0.4, 1.2], [1.0, 0.0], [0.5, 1.0], [0.51, 1.0], [0, 0], [np.nan, np.nan]])
    # On the first segment, on void, on the border (the upper pixel), just below, on nothing, nowhere.
    assert centres_inside(centres, truth).tolist() == [0, -1, 0, 1, -1, -1]
