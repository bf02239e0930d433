"""Contours and border strips: surface-distance, plain loops, the authors' erosion, cases by hand."""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np
import pytest
import surface_distance
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.metrics.segments.boundaries import (
    Contour,
    ContourDistances,
    boundary_iou,
    bounding_box,
    strip_width,
)

SEEDS = st.integers(0, 2**32 - 1)
SPACINGS = st.sampled_from([(1.0, 1.0), (0.07, 0.07), (0.5, 0.8)])


def draw_masks(seed: int, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged blobs, which may touch the image's border, have holes and fall apart."""
    generator = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        smooth = cv2.GaussianBlur(generator.normal(size=(size, size)), (0, 0), generator.uniform(0.6, 3))
        mask = smooth > np.quantile(smooth, generator.uniform(0.5, 0.98))
        masks.append(mask)
    return masks[0], masks[1]


def box(top: int, left: int, height: int, width: int, size: int = 12) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


@given(seed=SEEDS, spacing=SPACINGS, tolerance=st.sampled_from([0.5, 1.0, 2.0]))
@settings(deadline=None)
def test_equals_surface_distance(seed: int, spacing: tuple[float, float], tolerance: float) -> None:
    prediction, truth = draw_masks(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports scipy's functions from old places
        expected = surface_distance.compute_surface_distances(truth, prediction, spacing)
    found = ContourDistances.between(prediction, truth, spacing)
    near = tolerance * max(spacing)
    assert found.surface_dice(near) == pytest.approx(
        surface_distance.compute_surface_dice_at_tolerance(expected, near)
    )
    for share in (0.5, 0.95, 1.0):
        assert found.hausdorff(share) == pytest.approx(
            surface_distance.compute_robust_hausdorff(expected, 100 * share)
        )
    of_truth, of_prediction = surface_distance.compute_average_surface_distance(expected)
    lengths = expected["surfel_areas_gt"].sum(), expected["surfel_areas_pred"].sum()
    together = (of_truth * lengths[0] + of_prediction * lengths[1]) / sum(lengths)
    assert found.average() == pytest.approx(together)


@given(seed=SEEDS, spacing=SPACINGS)
@settings(max_examples=10, deadline=None)
def test_equals_plain_loops_over_all_pairs_of_corners(seed: int, spacing: tuple[float, float]) -> None:
    prediction, truth = draw_masks(seed, size=10)
    found = ContourDistances.between(prediction, truth, spacing)
    corners = [np.argwhere(Contour.of(mask, spacing).points) * spacing for mask in (prediction, truth)]
    expected = [[min(math.dist(a, b) for b in its) for a in own] for own, its in (corners, corners[::-1])]
    assert sorted(found.to_truth) == pytest.approx(sorted(expected[0]))
    assert sorted(found.to_prediction) == pytest.approx(sorted(expected[1]))


@pytest.mark.parametrize(
    ("mask", "corners", "length"),
    [
        (box(3, 3, 1, 1), 4, 4 * math.hypot(0.5, 1)),
        (box(0, 0, 1, 1), 4, 4 * math.hypot(0.5, 1)),
        # Four cut corners; four straight ones above and below, two at the sides.
        (box(2, 2, 2, 3), 10, 4 * math.hypot(0.5, 1) + 4 * 2 + 2 * 1),
        (np.eye(2, dtype=bool), 7, 6 * math.hypot(0.5, 1) + 2 * math.hypot(0.5, 1)),
        (np.ones((12, 12), dtype=bool), 48, 4 * math.hypot(0.5, 1) + 22 * 2 + 22 * 1),
    ],
    ids=["one pixel", "one pixel in the corner", "rectangle", "diagonal", "whole image"],
)
def test_contours_by_hand(mask: np.ndarray, corners: int, length: float) -> None:
    contour = Contour.of(mask, (1, 2))
    assert contour.points.sum() == corners
    assert contour.lengths.sum() == pytest.approx(length)
    assert not contour.lengths[~contour.points].any()


def test_by_hand() -> None:
    """A square of 4 pixels moved by 2 to the right: the upper and lower sides overlap by half."""
    found = ContourDistances.between(box(2, 4, 4, 4), box(2, 2, 4, 4), (1, 1))
    assert found.hausdorff(1.0) == 2
    # Of the moved square the left side's three inner corners lie 1 or 2 away from all of the other one.
    assert found.surface_dice(2.0) == 1
    cut, straight = math.hypot(0.5, 0.5), 1.0
    # At distance 0: three corners each of the upper and lower side, one of them cut in either square.
    zero = 2 * (2 * straight + cut)
    assert found.surface_dice(0.0) == pytest.approx(zero / (4 * cut + 12 * straight))


def test_the_unit_is_that_of_the_spacing() -> None:
    masks = draw_masks(5)
    pixels, millimetres = (ContourDistances.between(*masks, (size, size)) for size in (1.0, 0.1))
    assert millimetres.average() == pytest.approx(pixels.average() / 10)
    assert millimetres.hausdorff(0.95) == pytest.approx(pixels.hausdorff(0.95) / 10)
    assert millimetres.surface_dice(0.2) == pytest.approx(pixels.surface_dice(2.0))


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_symmetric_and_perfect_for_itself(seed: int) -> None:
    first, second = draw_masks(seed)
    there, back = (ContourDistances.between(*masks, (1, 1)) for masks in ((first, second), (second, first)))
    assert there.average() == pytest.approx(back.average())
    assert there.surface_dice(1) == pytest.approx(back.surface_dice(1))
    assert boundary_iou(first, second, 2) == boundary_iou(second, first, 2)
    same = ContourDistances.between(first, first, (1, 1))
    assert (same.average(), same.hausdorff(0.95), same.surface_dice(0)) == (0, 0, 1)
    assert boundary_iou(first, first, 1) == 1


def eroded(mask: np.ndarray, width: int) -> np.ndarray:
    """The strip of Cheng et al.'s own code: what a repeated 3 x 3 erosion takes away."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (inner == 0)


@given(seed=SEEDS, width=st.integers(1, 6))
@settings(deadline=None)
def test_boundary_iou_is_that_of_the_authors_erosion(seed: int, width: int) -> None:
    masks = draw_masks(seed)
    first, second = (eroded(mask, width) for mask in masks)
    assert boundary_iou(*masks, width) == pytest.approx((first & second).sum() / (first | second).sum())


def test_boundary_iou_by_hand() -> None:
    """Squares of 6 and of 4 pixels with one centre: 20 and 12 border pixels, none in common; then all."""
    large, small = box(2, 2, 6, 6), box(3, 3, 4, 4)
    assert boundary_iou(small, large, 1) == 0
    # Strips of 2: 32 pixels of the large square, all 16 of the small one; 12 in common.
    assert boundary_iou(small, large, 2) == pytest.approx(12 / 36)
    assert boundary_iou(small, large, 3) == pytest.approx(16 / 36)
    assert strip_width(512, 512, 0.02) == 14
    assert strip_width(10, 10, 0.02) == 1


def test_empty_masks_are_refused_or_undefined() -> None:
    nothing, something = np.zeros((4, 4), dtype=bool), box(0, 0, 1, 1, size=4)
    for masks in ((nothing, something), (something, nothing)):
        with pytest.raises(ValueError, match="an empty mask has no contour"):
            ContourDistances.between(*masks, (1, 1))
        assert boundary_iou(*masks, 1) == 0
    assert math.isnan(boundary_iou(nothing, nothing, 1))
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(12, 12\)"):
        ContourDistances.between(something, box(0, 0, 1, 1), (1, 1))
    assert bounding_box(something) == (slice(0, 1), slice(0, 1))
