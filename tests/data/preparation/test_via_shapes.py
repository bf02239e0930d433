"""Masks of outlines against shapely, scikit-image and arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import skimage.draw
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modise_lightning.data.preparation.via_shapes import (
    CroppedMask,
    Ellipse,
    Point,
    Polygon,
    Rectangle,
    Shape,
    bears_area,
    bounds,
    parse_shape,
    rasterize,
)

SIZE = (160, 200)


def full(mask: CroppedMask, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    canvas = np.zeros(size, dtype=bool)
    canvas[mask.window] = mask.mask
    return canvas


def enclosed(geometry: shapely.Geometry, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """Pixel centres in or on a geometry."""
    rows, columns = np.indices(size)
    return np.asarray(shapely.intersects_xy(geometry, columns, rows))


def intersection_over_union(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    return float((left & right).sum() / (left | right).sum())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-40, 240), st.integers(-40, 200)), min_size=3, max_size=12),
)
def test_convex_polygons_are_those_of_shapely_and_scikit_image(points: list[tuple[int, int]]) -> None:
    hull = shapely.MultiPoint(points).convex_hull
    assume(hull.geom_type == "Polygon" and hull.area > 30)
    outline = tuple((x, y) for x, y in hull.exterior.coords)
    mask = full(rasterize(Polygon(outline), *SIZE))
    assume(enclosed(hull.buffer(-1)).any())
    rows, columns = skimage.draw.polygon([y for _, y in outline], [x for x, _ in outline], SIZE)
    peer = np.zeros(SIZE, dtype=bool)
    peer[rows, columns] = True
    np.testing.assert_array_equal(mask, peer)
    assert intersection_over_union(mask, enclosed(hull)) >= 0.99


def test_a_concave_polygon_need_not_be_closed_and_turns_either_way() -> None:
    star = [
        (100 + radius * math.cos(k * math.pi / 7), 80 + radius * math.sin(k * math.pi / 7))
        for k in range(14)
        for radius in [70 if k % 2 else 25]
    ]
    expected = enclosed(shapely.Polygon(star))
    for outline in (star, star[::-1], [*star, star[0]]):
        np.testing.assert_array_equal(full(rasterize(Polygon(tuple(outline)), *SIZE)), expected)


def winding_truth(points: list[tuple[float, float]]) -> NDArray[np.bool_]:
    """Faces of the noded outline that it winds around, by shapely and the sum of signed angles."""
    ring = shapely.LineString([*points, points[0]])
    faces = shapely.polygonize([shapely.unary_union(ring)]).geoms
    kept = []
    for face in faces:
        x, y = face.representative_point().coords[0]
        angles = np.unwrap([math.atan2(b - y, a - x) for a, b in [*points, points[0]]])
        if round((angles[-1] - angles[0]) / (2 * math.pi)) != 0:
            kept.append(face)
    # A spike without area is no face, but its pixels are on the outline, which belongs to the region.
    return enclosed(shapely.unary_union(kept)) | enclosed(ring)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 159)), min_size=4, max_size=9, unique=True))
@example([(0, 0), (59, 0), (38, 0), (0, 102)])
def test_self_intersecting_outlines_follow_the_nonzero_rule(points: list[tuple[int, int]]) -> None:
    expected = winding_truth([(float(x), float(y)) for x, y in points])
    assume(expected.sum() > 2000)
    mask = full(rasterize(Polygon(tuple(points)), *SIZE))
    assert intersection_over_union(mask, expected) >= 0.99


def test_the_middle_of_a_pentagram_is_filled() -> None:
    corners = [
        (100 + 70 * math.sin(k * 4 * math.pi / 5), 80 - 70 * math.cos(k * 4 * math.pi / 5)) for k in range(5)
    ]
    assert full(rasterize(Polygon(tuple(corners)), *SIZE))[80, 100]


@settings(max_examples=40, deadline=None)
@given(st.floats(-20, 220), st.floats(-20, 180), st.floats(15, 90), st.floats(15, 90), st.floats(-4, 4))
def test_ellipses_have_semi_axes_and_turn_clockwise(
    x: float, y: float, rx: float, ry: float, theta: float
) -> None:
    unit = shapely.Point(0, 0).buffer(1, quad_segs=256)
    turned = shapely.affinity.rotate(shapely.affinity.scale(unit, rx, ry), theta, (0, 0), use_radians=True)
    # With y pointing down, shapely's positive rotation is clockwise on the screen.
    expected = enclosed(shapely.affinity.translate(turned, x, y))
    mask = full(rasterize(Ellipse((x, y), (rx, ry), theta), *SIZE))
    if expected.sum() > 500:
        assert intersection_over_union(mask, expected) >= 0.99
    if not expected.any():
        assert mask.sum() <= 4


def test_a_circle_is_its_disk() -> None:
    rows, columns = np.indices(SIZE)
    circle = parse_shape({"name": "circle", "cx": 90, "cy": 70, "r": 33})
    np.testing.assert_array_equal(
        full(rasterize(circle, *SIZE)), (rows - 70) ** 2 + (columns - 90) ** 2 < 33**2
    )


def test_a_rectangle_has_its_width_and_height_and_is_clipped() -> None:
    rectangle = parse_shape({"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40})
    mask = full(rasterize(rectangle, *SIZE))
    assert mask.sum() == 30 * 40
    assert mask[20:60, 10:40].all()
    assert rasterize(Rectangle(-10, 150, 30, 40), *SIZE).area == 20 * 10


@pytest.mark.parametrize(
    "shape",
    [
        Point(5, 5),
        Polygon(()),
        Polygon(((3, 3),)),
        Polygon(((3, 3), (90, 90), (3, 3))),
        Polygon(((3, 3), (60, 60), (90, 90))),
        Polygon(((300, 3), (360, 60), (390, 9))),
        Ellipse((50, 50), (0, 10)),
        Ellipse((900, 50), (20, 10)),
        Rectangle(5, 5, 0, 10),
        Rectangle(500, 5, 10, 10),
    ],
)
def test_what_encloses_nothing_gives_no_pixel(shape: Shape) -> None:
    assert rasterize(shape, *SIZE).area == 0


def test_lines_and_points_bear_no_area() -> None:
    assert not bears_area(Point(1, 1))
    assert not bears_area(Polygon(((1, 1), (5, 5))))
    assert bears_area(Polygon(((1, 1), (5, 5), (1, 5))))


def test_polylines_are_closed() -> None:
    attributes = {"all_points_x": [10, 90, 50], "all_points_y": [10, 10, 80]}
    assert parse_shape({"name": "polyline", **attributes}) == parse_shape({"name": "polygon", **attributes})


def test_bounds_of_a_turned_ellipse_are_its_extreme_points() -> None:
    angle = np.linspace(0, 2 * math.pi, 100_001)
    u, v = 40 * np.cos(angle), 10 * np.sin(angle)
    x, y = 5 + u * math.cos(0.7) - v * math.sin(0.7), 6 + u * math.sin(0.7) + v * math.cos(0.7)
    expected = (x.min(), y.min(), x.max(), y.max())
    assert bounds(Ellipse((5, 6), (40, 10), 0.7)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"name": "blob"}, "unknown shape 'blob'"),
        ({}, "unknown shape None"),
        ({"name": "circle", "cx": 1, "cy": 1}, "circle has no r"),
        ({"name": "ellipse", "cx": "1", "cy": 1, "rx": 1, "ry": 1}, "expected a number"),
        ({"name": "circle", "cx": math.nan, "cy": 1, "r": 1}, "expected a number"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": 1e300}, "expected a number"),
        ({"name": "circle", "cx": True, "cy": 1, "r": 1}, "expected a number"),
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, "2 values in all_points_x and 1"),
        ({"name": "polygon", "all_points_x": 3, "all_points_y": [1]}, "no list all_points_x"),
    ],
)
def test_a_wrong_shape_is_named(attributes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_shape(attributes)
