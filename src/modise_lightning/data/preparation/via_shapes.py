"""The outlines that VGG Image Annotator draws, and which pixels they enclose.

A pixel belongs to a shape when its centre, at integer coordinates, lies inside: scikit-image's convention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import skimage.draw
from numpy.typing import NDArray

# Far beyond any image; keeps the products of coordinates finite.
_LARGEST_COORDINATE = 1e6


@dataclass(frozen=True)
class Polygon:
    """A closed outline; also VIA's polylines, which are drawn around findings and need no closing vertex.

    Attributes:
        points: (x, y) of each vertex in pixels.
    """

    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, or a circle.

    Attributes:
        center: (x, y) in pixels.
        radii: Semi-axes along its own x and y, in pixels.
        theta: Rotation in radians, clockwise on the screen, as in the HTML canvas that VIA draws on.
    """

    center: tuple[float, float]
    radii: tuple[float, float]
    theta: float = 0.0


@dataclass(frozen=True)
class Rectangle:
    """An upright rectangle of ``width`` x ``height`` pixels whose first pixel is (x, y)."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Point:
    """A mark without area."""

    x: float
    y: float


Shape = Polygon | Ellipse | Rectangle | Point


@dataclass(frozen=True)
class CroppedMask:
    """A mask inside its bounding box, so that many of them fit into memory.

    Attributes:
        top: First row.
        left: First column.
        mask: (h, w) bool; (0, 0) if no pixel belongs to the shape.
    """

    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the bounding box."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


_NOTHING = CroppedMask(0, 0, np.zeros((0, 0), dtype=bool))


def parse_shape(attributes: Mapping[str, object]) -> Shape:
    """Read ``region_shape_attributes``.

    Args:
        attributes: The decoded JSON object; ``name`` is the kind of shape.

    Returns:
        The shape.

    Raises:
        ValueError: Says what of it is wrong.
    """
    kind = attributes.get("name")
    if kind in ("polygon", "polyline"):
        xs, ys = _numbers(attributes, "all_points_x"), _numbers(attributes, "all_points_y")
        if len(xs) != len(ys):
            raise ValueError(f"{kind} has {len(xs)} values in all_points_x and {len(ys)} in all_points_y")
        return Polygon(tuple(zip(xs, ys, strict=True)))
    if kind == "ellipse":
        theta = _number(attributes, "theta") if "theta" in attributes else 0.0
        radii = (_number(attributes, "rx"), _number(attributes, "ry"))
        return Ellipse((_number(attributes, "cx"), _number(attributes, "cy")), radii, theta)
    if kind == "circle":
        radius = _number(attributes, "r")
        return Ellipse((_number(attributes, "cx"), _number(attributes, "cy")), (radius, radius))
    if kind == "rect":
        x, y, width, height = (_number(attributes, key) for key in ("x", "y", "width", "height"))
        return Rectangle(x, y, width, height)
    if kind == "point":
        return Point(_number(attributes, "cx"), _number(attributes, "cy"))
    raise ValueError(f"unknown shape {kind!r}")


def bears_area(shape: Shape) -> bool:
    """Tell whether a shape could enclose anything at all (points and lines of one or two vertices do not)."""
    match shape:
        case Polygon(points):
            return len(set(points)) >= 3
        case Ellipse(radii=radii):
            return min(radii) > 0
        case Rectangle(width=width, height=height):
            return min(width, height) > 0
        case Point():
            return False


def bounds(shape: Shape) -> tuple[float, float, float, float]:
    """Give the smallest x, smallest y, largest x and largest y that a shape reaches, in pixels."""
    match shape:
        case Polygon(points):
            xs, ys = zip(*points, strict=True) if points else ((0.0,), (0.0,))
            return min(xs), min(ys), max(xs), max(ys)
        case Ellipse((x, y), (rx, ry), theta):
            cosine, sine = math.cos(theta), math.sin(theta)
            half_width, half_height = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
            return x - half_width, y - half_height, x + half_width, y + half_height
        case Rectangle(x, y, width, height):
            return x, y, x + width, y + height
        case Point(x, y):
            return x, y, x, y


def rasterize(shape: Shape, height: int, width: int) -> CroppedMask:
    """Find the pixels of an image that a shape encloses.

    Args:
        shape: The shape; what of it lies outside the image is cut off.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Its mask; empty if the shape has no area in the image.
    """
    if not bears_area(shape):
        return _NOTHING
    match shape:
        case Polygon(points):
            return fill_polygon(np.asarray(points, dtype=np.float64), height, width)
        case Ellipse((x, y), (rx, ry), theta):
            # scikit-image turns anticlockwise.
            draw: Any = skimage.draw.ellipse
            rows, columns = draw(y, x, ry, rx, shape=(height, width), rotation=-theta)
            if len(rows) == 0:
                return _NOTHING
            top, left = int(rows.min()), int(columns.min())
            mask = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), dtype=bool)
            mask[rows - top, columns - left] = True
            return CroppedMask(top, left, mask)
        case Rectangle(x, y, box_width, box_height):
            top, bottom = max(0, math.ceil(y)), min(height, math.ceil(y + box_height))
            left, right = max(0, math.ceil(x)), min(width, math.ceil(x + box_width))
            if bottom <= top or right <= left:
                return _NOTHING
            return CroppedMask(top, left, np.ones((bottom - top, right - left), dtype=bool))
        case Point():
            return _NOTHING


def fill_polygon(points: NDArray[np.float64], height: int, width: int) -> CroppedMask:
    """Fill a polygon by the nonzero winding rule, its boundary included.

    Where an outline crosses itself the nonzero rule fills what the pen went around, as VIA's canvas shows
    it; the even-odd rule of OpenCV, Pillow and scikit-image cuts holes where a hand overlapped itself.
    For outlines that do not cross themselves the result is scikit-image's.

    Args:
        points: (V, 2) x and y of the vertices; the last one is joined to the first.
        height: Image height in pixels.
        width: Image width in pixels.

    Returns:
        Its mask; empty if the polygon encloses no pixel centre of the image.
    """
    (min_x, min_y), (max_x, max_y) = points.min(axis=0), points.max(axis=0)
    top, bottom = max(0, math.ceil(min_y)), min(height - 1, math.floor(max_y))
    left, right = max(0, math.ceil(min_x)), min(width - 1, math.floor(max_x))
    if bottom < top or right < left:
        return _NOTHING
    rows, columns = bottom - top + 1, right - left + 1
    # An edge changes the winding number of all pixels to its right; the running sum gives it everywhere.
    change = np.zeros((rows, columns + 1), dtype=np.int32)
    on_edge = np.zeros((rows, columns), dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            if top <= y0 <= bottom and y0 == math.floor(y0):
                start, stop = math.ceil(min(x0, x1)), math.floor(max(x0, x1))
                on_edge[int(y0) - top, max(start - left, 0) : max(stop - left + 1, 0)] = True
            continue
        y = np.arange(max(math.ceil(min(y0, y1)), top), min(math.floor(max(y0, y1)), bottom) + 1)
        x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        is_center = (x == np.floor(x)) & (x >= left) & (x <= right)
        on_edge[y[is_center] - top, x[is_center].astype(np.int64) - left] = True
        # A vertex belongs to the edge below it only, so that no row counts it twice.
        crossed = y < max(y0, y1)
        first_right_of_it = np.clip(np.ceil(x[crossed]) - left, 0, columns).astype(np.int64)
        change[y[crossed] - top, first_right_of_it] += 1 if y1 > y0 else -1
    inside = np.cumsum(change[:, :columns], axis=1) != 0
    if not inside.any():
        return _NOTHING
    return CroppedMask(top, left, inside | on_edge)


def _number(attributes: Mapping[str, object], key: str) -> float:
    if key not in attributes:
        raise ValueError(f"{attributes['name']} has no {key}")
    return _checked(attributes[key], key)


def _numbers(attributes: Mapping[str, object], key: str) -> list[float]:
    values = attributes.get(key)
    if not isinstance(values, list):
        raise ValueError(f"{attributes['name']} has no list {key}")
    return [_checked(value, key) for value in values]


def _checked(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_COORDINATE:
        raise ValueError(f"{key} is {value!r}, expected a number of pixels")
    return float(value)
