"""Boxes become masks that fit the lesion, and no box makes it fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from modise_lightning.data.preparation.box_to_mask import Box, BoxMask, BoxToMask
from modise_lightning.errors import UserError

ARGUMENTS: dict[str, Any] = {"blur_sigma": 7.0, "concave_hull_ratio": 0.1, "minimum_side": 7}
SEGMENT = BoxToMask(**ARGUMENTS)


def lesion(shape: str, height: int, width: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    rows, columns = np.indices((height, width))
    y, x = rows / height * 2 - 1, columns / width * 2 - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + generator.uniform(0, 2 * np.pi)
    shapes = {
        "oval": radius < 0.9,
        "lobulated": radius < 0.75 + 0.15 * np.cos(4 * angle),
        "spiculated": radius < 0.6 + 0.3 * np.abs(np.cos(3 * angle)) ** 3,
        "crescent": (radius < 0.95) & (np.hypot(x - 0.45, y) > 0.55),
    }
    return shapes[shape]


def scene(
    mask: NDArray[np.bool_], contrast: float, noise: float, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Box]:
    """Put a lesion with a soft edge on uneven tissue, with a box as loose as a hand draws it."""
    mask = np.pad(mask, 40)
    tissue = ndimage.gaussian_filter(generator.standard_normal(mask.shape), 40)
    image = 0.4 + 0.04 * tissue / tissue.std() + contrast * ndimage.gaussian_filter(mask.astype(float), 4)
    rows, columns = np.nonzero(mask)
    box = Box(columns.min() - 6.3, rows.min() - 7.9, columns.max() + 8.2, rows.max() + 5.5)
    return (image + noise * generator.standard_normal(mask.shape)).astype(np.float32), mask, box


def painted(found: BoxMask, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[found.mask.window] = found.mask.mask
    return mask


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_masks_fit_the_lesions() -> None:
    generator = np.random.default_rng(0)
    overlaps: dict[str, list[float]] = {}
    for shape in ("oval", "lobulated", "spiculated", "crescent"):
        for height, width in ((120, 150), (360, 300)):
            for contrast, noise in ((0.12, 0.05), (0.2, 0.1), (0.4, 0.02)):
                image, mask, box = scene(lesion(shape, height, width, generator), contrast, noise, generator)
                found = SEGMENT(image, box)
                assert found.outcome == "segmented"
                overlaps.setdefault(shape, []).append(overlap(painted(found, mask.shape), mask))
    means = {shape: np.mean(values) for shape, values in overlaps.items()}
    assert np.mean(list(means.values())) >= 0.85, means
    assert min(means.values()) >= 0.75, means


def test_one_segment_encloses_what_lies_apart() -> None:
    generator = np.random.default_rng(1)
    cluster = np.zeros((160, 160), dtype=bool)
    for row, column in ((20, 30), (40, 120), (120, 60), (130, 130), (75, 80)):
        cluster[row - 8 : row + 8, column - 8 : column + 8] = True
    image, mask, box = scene(cluster, 0.6, 0.02, generator)
    found = painted(SEGMENT(image, box), mask.shape)
    assert ndimage.label(found, np.ones((3, 3)))[1] == 1
    assert (found & mask).sum() > 0.7 * mask.sum()


def test_the_ratio_goes_from_the_shape_to_its_convex_hull() -> None:
    generator = np.random.default_rng(2)
    image, mask, box = scene(lesion("crescent", 300, 300, generator), 0.4, 0.02, generator)
    areas = [
        int(BoxToMask(**ARGUMENTS | {"concave_hull_ratio": ratio})(image, box).mask.area)
        for ratio in (0.05, 0.5, 1.0)
    ]
    assert areas == sorted(areas)
    rows, columns = np.nonzero(mask)
    convex = shapely.MultiPoint(np.stack([columns, rows], axis=1)).convex_hull.area
    assert areas[0] < 0.75 * convex < 0.85 * convex < areas[2]


def test_the_scale_of_the_values_does_not_matter() -> None:
    generator = np.random.default_rng(3)
    image, mask, box = scene(lesion("oval", 200, 150, generator), 0.3, 0.05, generator)
    stored = (image.clip(0, 1) * 65535).astype(np.uint16)
    one, other = (painted(SEGMENT(values, box), mask.shape) for values in (image, stored))
    assert overlap(one, other) > 0.99


def test_each_box_has_its_own_threshold() -> None:
    """A faint lesion beside a bright one: a common threshold would lose it."""
    rows, columns = np.indices((200, 400))
    bright, faint = np.hypot(rows - 100, columns - 100) < 40, np.hypot(rows - 100, columns - 300) < 40
    image = (0.1 + 0.8 * bright + 0.1 * faint).astype(np.float32)
    for mask, center in ((bright, 100), (faint, 300)):
        found = painted(SEGMENT(image, Box(center - 50, 50, center + 50, 150)), mask.shape)
        assert overlap(found, mask) > 0.95


@pytest.mark.parametrize(
    ("box", "outcome", "rows", "columns"),
    [
        (Box(20, 30, 60, 70), "flat", (30, 70), (20, 60)),
        (Box(20.5, 30.5, 24.2, 70.1), "small", (30, 71), (20, 25)),
        (Box(20, 30, 21, 31), "small", (30, 31), (20, 21)),
        (Box(-40.5, -7, 10, 20), "flat", (0, 20), (0, 10)),
        (Box(95, 70, 400, 90.2), "small", (70, 80), (95, 100)),
    ],
)
def test_boxes_without_a_lesion_are_taken_whole(
    box: Box, outcome: str, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image = np.full((80, 100), 0.37, dtype=np.float32)
    found = SEGMENT(image, box)
    assert found.outcome == outcome
    expected = np.zeros((80, 100), dtype=bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(painted(found, image.shape), expected)


@pytest.mark.parametrize(
    "box", [Box(100, 5, 130, 20), Box(-30, 5, 0, 20), Box(5, 80, 20, 90), Box(9, 9, 2, 2)]
)
def test_a_box_outside_has_no_pixel(box: Box) -> None:
    found = SEGMENT(np.random.default_rng(0).random((80, 100)), box)
    assert (found.outcome, found.mask.area) == ("outside", 0)
    assert box.fraction_inside(80, 100) == 0


def test_the_fraction_inside() -> None:
    assert Box(-10, 0, 10, 10).fraction_inside(100, 100) == 0.5
    assert Box(-10, 90, 10, 110).fraction_inside(100, 100) == 0.25
    assert Box(1.5, 2, 3, 4).fraction_inside(100, 100) == 1


@pytest.mark.parametrize("step", [0.0, 1e-9])
def test_rounding_is_no_lesion(step: float) -> None:
    image = 0.5 + step * (np.indices((80, 80)).sum(axis=0) % 2)
    found = SEGMENT(image, Box(5, 5, 75, 75))
    assert (found.outcome, found.mask.area) == ("flat", 70 * 70)


@pytest.mark.parametrize("line", [(40, slice(10, 60)), (slice(10, 60), 40)])
def test_a_thin_bright_line_is_segmented(line: tuple[Any, Any]) -> None:
    image = np.zeros((80, 80), dtype=np.float32)
    image[line] = 1
    found = SEGMENT(image, Box(5, 5, 75, 75))
    assert found.outcome == "segmented"
    assert painted(found, image.shape)[line].mean() > 0.9


@example(seed=0, kind="two values", box=(0.0, 0.0, 2.0, 2.0), sigma=0.3, ratio=0.0)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["noise", "binary", "ramp", "two values", "one pixel", "chessboard"]),
    box=st.tuples(*[st.floats(-60, 160) for _ in range(4)]),
    sigma=st.sampled_from([0.3, 7.0]),
    ratio=st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(deadline=None, max_examples=80)
def test_any_box_gives_pixels_of_the_box_or_none(
    seed: int, kind: str, box: tuple[float, float, float, float], sigma: float, ratio: float
) -> None:
    generator = np.random.default_rng(seed)
    image = generator.random((90, 110)).astype(np.float32)
    if kind == "binary":
        image = np.round(image)
    elif kind == "ramp":
        image = np.arange(90 * 110, dtype=np.float32).reshape(90, 110)
    elif kind == "two values":
        image = np.where(image > 0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.float32(0.5))
    elif kind == "chessboard":
        image = (np.indices((90, 110)).sum(axis=0) % 2).astype(np.float32)
    elif kind == "one pixel":
        image = np.zeros((90, 110), dtype=np.float32)
        image[45, 55] = 1
    one, two = Box(*box), BoxToMask(blur_sigma=sigma, concave_hull_ratio=ratio, minimum_side=2)
    found = two(image, one)
    inside = np.zeros(image.shape, dtype=bool)
    inside[one.window(*image.shape)] = True
    assert not painted(found, image.shape)[~inside].any()
    assert (found.outcome == "outside") == (not inside.any())
    assert (found.mask.area > 0) == inside.any()


@pytest.mark.parametrize(
    "changes", [{"blur_sigma": 0.0}, {"concave_hull_ratio": 1.5}, {"minimum_side": 0}, {"blur_sigma": np.nan}]
)
def test_values_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        BoxToMask(**ARGUMENTS | changes)
