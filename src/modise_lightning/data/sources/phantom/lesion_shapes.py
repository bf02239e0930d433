"""Shapes of the phantom's lesions in one view: elliptic coordinates, wavy outlines, hulls."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from modise_lightning.data.sources.phantom.anatomy import Field, Mask


@dataclass(frozen=True)
class Place:
    """Where a lesion is shown.

    Attributes:
        centre: (x, y) of its centre, in image sides.
        rotation: How it is turned, in radians.
        x: (1, W) coordinates of the pixels to render.
        y: (H, 1) coordinates of the pixels to render.
    """

    centre: tuple[float, float]
    rotation: float
    x: Field
    y: Field

    def polar(self, aspect: float) -> tuple[Field, Field]:
        """Give elliptic polar coordinates.

        Args:
            aspect: Length over width of the ellipse of radius 1, whose long axis is turned by ``rotation``.

        Returns:
            (H, W) radius in image sides and (H, W) angle in radians.
        """
        x, y = self.x - self.centre[0], self.y - self.centre[1]
        u = x * np.cos(self.rotation) + y * np.sin(self.rotation)
        v = y * np.cos(self.rotation) - x * np.sin(self.rotation)
        return np.hypot(u / aspect**0.5, v * aspect**0.5), np.arctan2(v, u)


def fade(relative: Field, border: float, width: float) -> Field:
    """Give 1 inside and 0 outside, with a logistic border.

    Args:
        relative: (H, W) distance from the centre, in radii of the outline.
        border: Where it is a half.
        width: Of the transition.
    """
    return np.asarray(1 / (1 + np.exp(((relative - border) / width).clip(-40, 40))))


def contour(rng: np.random.Generator, angle: Field, orders: tuple[int, ...], amplitude: float) -> Field:
    """Relative deviation of an outline from an ellipse.

    Args:
        rng: Source of the coefficients.
        angle: (H, W) angles in radians.
        orders: Harmonics.
        amplitude: Standard deviation of the sum.

    Returns:
        (H, W) deviations, at least -0.5.
    """
    sines = sum(rng.normal() * np.cos(order * angle + rng.uniform(-np.pi, np.pi)) for order in orders)
    deviation: Field = np.clip(amplitude * (2 / len(orders)) ** 0.5 * sines, -0.5, 0.5)
    return deviation


def hull(dots_x: Field, dots_y: Field, margin: float, place: Place) -> Mask:
    """Convex hull of points and a margin around it.

    Args:
        dots_x: (D,) coordinates.
        dots_y: (D,) coordinates.
        margin: Width of the margin.
        place: The pixels.

    Returns:
        (H, W) the hull.
    """
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    x, y = place.x, place.y
    pixel = x[0, 1] - x[0, 0]
    rows = ((dots_y[:, None] + margin * np.sin(around)).ravel() - y[0, 0]) / pixel
    columns = ((dots_x[:, None] + margin * np.cos(around)).ravel() - x[0, 0]) / pixel
    # OpenCV takes fixed-point coordinates with 4 fractional bits.
    points = np.round(np.stack([columns, rows], axis=1) * 16).astype(np.int32)
    canvas = np.zeros((y.size, x.size), dtype=np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1, cv2.LINE_8, 4)
    return np.asarray(canvas, dtype=np.bool_)


def largest_part(mask: Mask) -> Mask:
    """Largest connected part of a mask, without holes.

    Args:
        mask: (H, W) mask with at least one pixel.

    Returns:
        (H, W) its largest part.
    """
    parts, _ = ndimage.label(mask)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.asarray(ndimage.binary_fill_holes(largest), dtype=np.bool_)
