"""The lesions of the phantom: smooth benign masses, spiculated malignant masses, clusters of calcifications.

A lesion belongs to a breast; `render_lesion` shows it in one view. Lengths are fractions of the image side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from modise_lightning.data.sources.phantom.anatomy import Field, Mask, pixel_grid
from modise_lightning.data.sources.phantom.lesion_shapes import Place, contour, fade, hull, largest_part

LesionKind = Literal["benign mass", "malignant mass", "calcification cluster"]
LESION_KINDS: tuple[LesionKind, ...] = ("benign mass", "malignant mass", "calcification cluster")
_LARGEST_REACH = 3.5  # radii; the longest spicules reach 3.2 * 0.88 radii along the long axis


@dataclass(frozen=True)
class LesionStatistics:
    """How many lesions there are, how large and how visible.

    Attributes:
        count_probabilities: Probability of 0, 1, 2, ... lesions in a breast; sums to 1.
        kind_probabilities: Probability of each of `LESION_KINDS`; sums to 1.
        mass_diameter: Smallest and largest diameter of a mass, in image sides.
        cluster_diameter: Smallest and largest diameter of a cluster, in image sides.
        benign_contrast: Smallest and largest brightness that a benign mass adds at its centre (white is 1).
        malignant_contrast: The same of a malignant mass.
        calcification_contrast: Smallest and largest brightness that a calcification adds at its centre.
    """

    count_probabilities: tuple[float, ...]
    kind_probabilities: tuple[float, ...]
    mass_diameter: tuple[float, float]
    cluster_diameter: tuple[float, float]
    benign_contrast: tuple[float, float]
    malignant_contrast: tuple[float, float]
    calcification_contrast: tuple[float, float]


@dataclass(frozen=True)
class Lesion:
    """What both views of a lesion share.

    Attributes:
        kind: Which lesion.
        radius: Half its diameter.
        contrast: Brightness that it adds at its centre, or at that of a calcification.
        aspect: Length over width, at least 1.
        nipple_distance: Distance from the nipple, in breast depths; the same in both views, as in life.
        seed: Seeds its outline.
    """

    kind: LesionKind
    radius: float
    contrast: float
    aspect: float
    nipple_distance: float
    seed: int


@dataclass(frozen=True)
class RenderedLesion:
    """A lesion in one view.

    Attributes:
        brightness: (S, S) brightness to add.
        mask: (S, S) what a radiologist would outline.
    """

    brightness: Field
    mask: Mask


def draw_lesion(rng: np.random.Generator, statistics: LesionStatistics) -> Lesion:
    """Draw one lesion.

    Args:
        rng: Source of randomness.
        statistics: How large and how visible lesions are.

    Returns:
        The lesion.
    """
    kind = LESION_KINDS[int(rng.choice(len(LESION_KINDS), p=statistics.kind_probabilities))]
    cluster = kind == "calcification cluster"
    diameter = rng.uniform(*(statistics.cluster_diameter if cluster else statistics.mass_diameter))
    contrasts = {
        "benign mass": statistics.benign_contrast,
        "malignant mass": statistics.malignant_contrast,
        "calcification cluster": statistics.calcification_contrast,
    }
    return Lesion(
        kind=kind,
        radius=diameter / 2,
        contrast=rng.uniform(*contrasts[kind]),
        aspect=rng.uniform(1.0, 1.5),
        nipple_distance=rng.uniform(0.22, 0.85),
        seed=int(rng.integers(2**31)),
    )


def render_lesion(lesion: Lesion, centre: tuple[float, float], rotation: float, size: int) -> RenderedLesion:
    """Show a lesion in one view.

    Args:
        lesion: The lesion.
        centre: (x, y) of its centre in this view.
        rotation: How it is turned in this view, in radians.
        size: Image side in pixels.

    Returns:
        Its brightness and its outline, on the whole image.
    """
    rng = np.random.default_rng(lesion.seed)
    x, y = pixel_grid(size)
    columns = slice(*_window(centre[0], lesion.radius, size))
    rows = slice(*_window(centre[1], lesion.radius, size))
    render = {
        "benign mass": _render_benign_mass,
        "malignant mass": _render_malignant_mass,
        "calcification cluster": _render_calcification_cluster,
    }[lesion.kind]
    part = render(rng, lesion, Place(centre, rotation, x[:, columns], y[rows]))
    brightness, mask = np.zeros((size, size), dtype=np.float32), np.zeros((size, size), dtype=np.bool_)
    brightness[rows, columns], mask[rows, columns] = part.brightness, part.mask
    return RenderedLesion(brightness, mask)


def _window(centre: float, radius: float, size: int) -> tuple[int, int]:
    """Pixels along one axis that a lesion can reach.

    Args:
        centre: Its centre along the axis.
        radius: Its radius.
        size: Image side in pixels.

    Returns:
        First pixel and the one after the last.
    """
    reach = _LARGEST_REACH * radius
    return max(0, int((centre - reach) * size)), min(size, int((centre + reach) * size) + 2)


def _render_benign_mass(rng: np.random.Generator, lesion: Lesion, place: Place) -> RenderedLesion:
    """A round, oval or gently lobulated mass with a sharp border and even brightness."""
    radius, angle = place.polar(lesion.aspect)
    lobulation = contour(rng, angle, orders=(2, 3, 4), amplitude=0.06)
    relative = radius / (lesion.radius * (1 + lobulation))
    edge = fade(relative, 1, 0.05)
    dome = 0.75 + 0.25 * np.sqrt(np.clip(1 - relative**2, 0, 1))
    halo = 0.12 * np.exp(-(((relative - 1.16) / 0.07) ** 2))
    return RenderedLesion((lesion.contrast * (edge * dome - halo)).astype(np.float32), relative < 1)


def _render_malignant_mass(rng: np.random.Generator, lesion: Lesion, place: Place) -> RenderedLesion:
    """An irregular mass with an ill-defined border and spicules; its outline takes in the spicules' roots."""
    radius, angle = place.polar(lesion.aspect**0.5)
    core = 0.88 * lesion.radius  # with the spicules' roots the outline has about the lesion's diameter
    relative = radius / (core * (1 + contour(rng, angle, orders=(2, 3, 4, 5, 6, 7), amplitude=0.16)))
    body = fade(relative, 0.95, 0.14)
    dome = 0.7 + 0.3 * np.exp(-(relative**2) / 0.4)
    spicules = np.zeros_like(radius)
    for _ in range(int(rng.integers(12, 26))):
        direction, reach = rng.uniform(-np.pi, np.pi), rng.uniform(1.8, 3.2) * core
        bent = angle - direction - rng.normal(0, 0.25) * (radius / core - 1)
        lateral = np.abs(np.angle(np.exp(1j * bent))) * radius
        width = rng.uniform(0.004, 0.008) * (0.5 + lesion.radius / 0.08)
        spicules = np.maximum(spicules, np.exp(-((lateral / width) ** 2)) * np.clip(1 - radius / reach, 0, 1))
    brightness = np.maximum(body * dome, 0.9 * spicules * (relative > 0.5))
    outline = (relative < 1) | ((spicules > 0.4) & (relative < 1.2))
    return RenderedLesion((lesion.contrast * brightness).astype(np.float32), largest_part(outline))


def _render_calcification_cluster(rng: np.random.Generator, lesion: Lesion, place: Place) -> RenderedLesion:
    """A group of tiny bright dots; its outline is the group's filled hull."""
    count = int(rng.integers(16, 40))
    distance, direction = np.sqrt(rng.uniform(0, 1, count)), rng.uniform(-np.pi, np.pi, count)
    # A few dots on the rim, so that the hull has the lesion's diameter.
    distance[:5], direction[:5] = (
        rng.uniform(0.85, 1, 5),
        np.arange(5) * 2 * np.pi / 5 + rng.normal(0, 0.3, 5),
    )
    u = lesion.radius * distance * np.cos(direction)
    v = lesion.radius * distance * np.sin(direction) / lesion.aspect
    cosine, sine = np.cos(place.rotation), np.sin(place.rotation)
    dots_x = place.centre[0] + u * cosine - v * sine
    dots_y = place.centre[1] + u * sine + v * cosine
    sigmas, strengths = rng.uniform(0.0022, 0.0048, count), rng.uniform(0.5, 1.0, count)
    # A Gaussian dot is a product of two profiles, so that the sum over dots is one matrix product.
    rows = strengths[:, None] * np.exp(-((place.y[:, 0] - dots_y[:, None]) ** 2) / (2 * sigmas[:, None] ** 2))
    columns = np.exp(-((place.x[0] - dots_x[:, None]) ** 2) / (2 * sigmas[:, None] ** 2))
    haze = 0.12 * np.exp(-((place.polar(lesion.aspect)[0] / lesion.radius) ** 2))
    brightness = lesion.contrast * (rows.T @ columns + rng.uniform(0, 1) * haze)
    return RenderedLesion(brightness.astype(np.float32), hull(dots_x, dots_y, 0.006, place))
