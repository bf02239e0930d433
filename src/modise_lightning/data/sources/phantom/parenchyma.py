"""The texture of a phantom breast: fat, dense tissue, strands, vessels, bright things that are no lesion."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from modise_lightning.data.sources.phantom.anatomy import Breast, BreastView, Field, pixel_grid
from modise_lightning.data.sources.phantom.noise import band_noise, blur, power_law_noise, unit_variance


def draw_parenchyma(rng: np.random.Generator, breast: Breast, view: BreastView) -> Field:
    """Draw the normal tissue of one view, without noise of the detector.

    Args:
        rng: Source of randomness.
        breast: The breast.
        view: Its geometry in this view.

    Returns:
        (S, S) brightness, 0 outside the breast; dense tissue reaches about 0.8.
    """
    size = view.size
    coarse = power_law_noise(rng, size, 3.0)
    fine = power_law_noise(rng, size, 2.0)
    streaks = _nipple_streaks(rng, view, fine)
    gland = _gland(rng, breast, view, coarse, streaks)
    # Fibrous septa show as thin bright lines: the zero crossings of noise at a few scales.
    septa = sum(
        strength * np.exp(-((field / width) ** 2))
        for field, width, strength in (
            (band_noise(rng, size, 0.030) + 1.2 * streaks, 0.20, 0.5),
            (band_noise(rng, size, 0.013) + 1.5 * streaks, 0.28, 0.5),
        )
    )
    thickness = 1 - np.exp(-view.skin_distance / 0.03)
    fat = breast.fat_level * (0.45 + 0.55 * thickness) * (1 + 0.10 * coarse)
    dense = breast.gland_contrast * gland * (1 + 0.16 * streaks + 0.14 * fine)
    inner = np.clip(view.skin_distance / 0.04, 0, 1)
    strands = septa * inner * (0.075 + 0.10 * gland) * (1 - 0.6 * view.pectoral)
    x, y = pixel_grid(size)
    falloff = np.exp(-(x + 0.6 * y) / rng.uniform(0.5, 1.2))  # the muscle is thickest in the upper corner
    muscle = view.pectoral * (rng.uniform(0.22, 0.42) * falloff + 0.03 * coarse + 0.02 * fine)
    tissue = fat + dense * (1 - 0.8 * view.pectoral) + strands + muscle
    return np.asarray(np.clip(tissue, 0, None) * view.mask, dtype=np.float32)


def draw_vessels(rng: np.random.Generator, view: BreastView) -> Field:
    """Draw blood vessels and ducts: thin, curved, bright lines.

    Args:
        rng: Source of randomness.
        view: Geometry.

    Returns:
        (S, S) brightness to add.
    """
    size = view.size
    result = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(rng.integers(4, 11))):
        start = (rng.uniform(0, 0.8) * view.depth, view.nipple[1] + rng.uniform(-0.35, 0.35))
        result += rng.uniform(0.03, 0.10) * _curve(rng, size, start, rng.uniform(-0.7, 0.7), 0.5, 0.035)
    for _ in range(int(rng.integers(3, 8))):
        heading = np.pi + rng.uniform(-0.8, 0.8)
        result += rng.uniform(0.02, 0.07) * _curve(rng, size, view.nipple, heading, 0.25, 0.03)
    result = blur(result, 0.0025 * size)
    return np.asarray(result * np.clip(view.skin_distance / 0.012 - 1, 0, 1), dtype=np.float32)


def draw_distractors(rng: np.random.Generator, view: BreastView) -> Field:
    """Draw what resembles a lesion and is none: dense islands, lymph nodes, single coarse calcifications.

    Args:
        rng: Source of randomness.
        view: Geometry.

    Returns:
        (S, S) brightness to add.
    """
    x, y = pixel_grid(view.size)
    result = np.zeros_like(x * y)
    inside = np.argwhere(view.skin_distance > 0.04)
    warp = np.clip(1 + 0.35 * band_noise(rng, view.size, 0.04), 0.4, 2)
    for _ in range(int(rng.integers(1, 5))):
        centre_y, centre_x = (inside[rng.integers(len(inside))] + 0.5) / view.size
        radius = np.hypot((x - centre_x) / rng.uniform(0.02, 0.07), (y - centre_y) / rng.uniform(0.02, 0.07))
        result += rng.uniform(0.06, 0.20) * np.exp(-((radius * warp) ** 2))
    nodes = rng.integers(0, 3) if view.view == "MLO" else int(rng.uniform() < 0.15)
    for _ in range(int(nodes)):
        centre = (rng.uniform(0.02, 0.25), rng.uniform(0.02, 0.30))
        result += rng.uniform(0.08, 0.18) * _lymph_node(rng, x, y, centre)
    for _ in range(int(rng.integers(0, 4))):
        centre_y, centre_x = (inside[rng.integers(len(inside))] + 0.5) / view.size
        sigma = rng.uniform(0.0022, 0.005)
        distance = (x - centre_x) ** 2 + (y - centre_y) ** 2
        result += rng.uniform(0.15, 0.45) * np.exp(-distance / (2 * sigma**2))
    return np.asarray(result * view.mask, dtype=np.float32)


def _gland(
    rng: np.random.Generator, breast: Breast, view: BreastView, coarse: Field, streaks: Field
) -> Field:
    """Share of dense tissue at each pixel.

    Args:
        rng: Source of randomness.
        breast: The breast.
        view: Geometry.
        coarse: (S, S) noise that decides where the tissue is.
        streaks: (S, S) noise that runs toward the nipple.

    Returns:
        (S, S) in [0, 1].
    """
    x, y = pixel_grid(view.size)
    # In MLO dense tissue lies toward the upper outer quadrant, that is toward the axilla.
    lift = rng.uniform(0.00, 0.06) if view.view == "CC" else rng.uniform(0.05, 0.14)
    centre = (view.nipple[0] - rng.uniform(0.42, 0.58) * view.depth, view.nipple[1] - lift)
    extent = 0.55 + 0.6 * breast.glandularity
    along = (x - centre[0]) / (0.62 * view.depth * extent)
    across = (y - centre[1] - 0.25 * (centre[0] - x) * (view.view == "MLO")) / (0.36 * extent)
    envelope = 1.2 - 1.5 * (along**2 + across**2)
    fat_layer = (view.skin_distance - breast.subcutaneous_fat) / 0.02
    retromammary = (x - rng.uniform(-0.02, 0.06)) / 0.03
    logit = 1.5 * envelope + 1.4 * coarse + 0.75 * streaks + 3.5 * (breast.glandularity - 0.55)
    limits = 1 / (1 + np.exp(-2 * np.minimum(fat_layer, retromammary).clip(-10, 10)))
    return np.asarray(limits / (1 + np.exp(-logit.clip(-20, 20))), dtype=np.float32)


def _nipple_streaks(rng: np.random.Generator, view: BreastView, warp: Field) -> Field:
    """Noise that is drawn out toward the nipple, as ducts and ligaments are; mean 0, variance about 1.

    Args:
        rng: Source of randomness.
        view: Geometry.
        warp: (S, S) noise that bends the streaks.

    Returns:
        (S, S) noise.
    """
    x, y = pixel_grid(view.size)
    bend = blur(warp, 0.05 * view.size)
    bend = 0.045 * bend / max(float(bend.std()), 1e-6)
    dx, dy = view.nipple[0] + 0.12 - x, y - view.nipple[1]
    distance, angle = np.hypot(dx, dy) + bend, np.arctan2(dy + bend, dx)
    polar = sum(
        strength * unit_variance(ndimage.gaussian_filter(rng.standard_normal((48, 320)), sigma))
        for sigma, strength in (((0.9, 5.0), 0.50), ((1.0, 2.4), 0.65), ((1.3, 1.1), 0.55))
    )
    rows = np.clip(distance / 1.3, 0, 1) * 47
    columns = (angle / (2 * np.pi) + 0.5) * 319
    return np.asarray(
        ndimage.map_coordinates(polar, [rows, columns], order=1, mode="nearest"), dtype=np.float32
    )


def _lymph_node(rng: np.random.Generator, x: Field, y: Field, centre: tuple[float, float]) -> Field:
    """A lymph node: a smooth bright oval with a dark fatty hilum.

    Args:
        rng: Source of randomness.
        x: (1, S) coordinates.
        y: (S, 1) coordinates.
        centre: (x, y) of the node.

    Returns:
        (S, S) in [0, 1].
    """
    angle, long, ratio = rng.uniform(0, np.pi), rng.uniform(0.02, 0.045), rng.uniform(0.5, 0.75)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    body = 1 / (1 + np.exp(((np.hypot(u / long, v / (ratio * long)) - 1) / 0.12).clip(-40, 40)))
    hilum = np.exp(-((u / (0.35 * long)) ** 2) - ((v / (ratio * long) - 0.4) / 0.35) ** 2)
    return np.asarray(body * (1 - 0.6 * hilum), dtype=np.float32)


def _curve(
    rng: np.random.Generator,
    size: int,
    start: tuple[float, float],
    heading: float,
    length: float,
    wander: float,
) -> Field:
    """An antialiased smooth random curve.

    Args:
        rng: Source of randomness.
        size: Image side in pixels.
        start: (x, y) of its first point.
        heading: Direction in radians.
        length: Mean length.
        wander: Standard deviation of the change of direction at each of its steps, in radians.

    Returns:
        (S, S) in [0, 1].
    """
    steps = 40
    turns = np.cumsum(ndimage.gaussian_filter1d(rng.normal(0, 2.5 * wander, steps), 3))
    headings = heading + turns
    stride = length * rng.uniform(0.5, 1.5) / steps
    points = np.stack(
        [start[0] + np.cumsum(stride * np.cos(headings)), start[1] + np.cumsum(stride * np.sin(headings))]
    )
    # OpenCV takes fixed-point coordinates with 4 fractional bits.
    vertices = np.round((points.T * size - 0.5) * 16).astype(np.int32)
    canvas = np.zeros((size, size), dtype=np.uint8)
    thickness = max(1, round(rng.uniform(0.6, 2.0) * size / 256))
    cv2.polylines(canvas, [vertices[:, None]], False, 255, thickness, cv2.LINE_AA, 4)
    return np.asarray(canvas / np.float32(255), dtype=np.float32)
