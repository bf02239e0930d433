"""The shape of a phantom breast in one view: outline, skin, nipple and pectoral muscle.

Every length is a fraction of the image side. Shapes are drawn as a left breast, with the chest wall at the
left image border; the generator mirrors right breasts at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

View = Literal["CC", "MLO"]
Laterality = Literal["L", "R"]
Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

DENSITY_CLASSES = ("a", "b", "c", "d")
_DENSITY_FREQUENCIES = (0.15, 0.40, 0.35, 0.10)  # roughly a screening population's share of ACR a to d
SKIN_THICKNESS = 0.009


@dataclass(frozen=True)
class Breast:
    """What both views of one breast share.

    Attributes:
        density: ACR density class, "a" (fatty) to "d" (extremely dense).
        glandularity: Share of the inner breast that is dense tissue, in [0, 1].
        depth: Distance from the chest wall to the nipple.
        gland_contrast: Brightness that dense tissue adds to fat.
        fat_level: Brightness of fat.
        subcutaneous_fat: Thickness of the fat under the skin.
    """

    density: str
    glandularity: float
    depth: float
    gland_contrast: float
    fat_level: float
    subcutaneous_fat: float


@dataclass(frozen=True)
class BreastView:
    """Where things are in one view of one breast.

    Attributes:
        view: "CC" (seen from above) or "MLO" (seen from the side, with the pectoral muscle).
        size: Image side in pixels.
        mask: (S, S) the breast, with the pectoral muscle and the nipple.
        skin_distance: (S, S) distance to the skin in image sides; 0 outside the breast.
        pectoral: (S, S) in [0, 1], how much of the beam passes the pectoral muscle; 0 in CC.
        nipple: (x, y) of the nipple's base.
        depth: Distance from the chest wall to the nipple.
    """

    view: View
    size: int
    mask: Mask
    skin_distance: Field
    pectoral: Field
    nipple: tuple[float, float]
    depth: float


def pixel_grid(size: int) -> tuple[Field, Field]:
    """Coordinates of the pixel centres.

    Args:
        size: Image side in pixels.

    Returns:
        x as (1, S) and y as (S, 1), in image sides.
    """
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return centres[None, :], centres[:, None]


def draw_breasts(rng: np.random.Generator, count: int) -> list[Breast]:
    """Draw the breasts of one patient, which resemble each other.

    Args:
        rng: Source of randomness.
        count: Number of breasts, 1 or 2.

    Returns:
        The breasts.
    """
    class_index = int(rng.choice(len(DENSITY_CLASSES), p=_DENSITY_FREQUENCIES))
    glandularity = (0.08, 0.26, 0.54, 0.82)[class_index] + rng.uniform(-0.08, 0.08)
    depth = rng.uniform(0.42, 0.72)
    gland_contrast = rng.uniform(0.28, 0.46)
    fat_level = rng.uniform(0.11, 0.21)
    subcutaneous_fat = rng.uniform(0.02, 0.05)
    return [
        Breast(
            density=DENSITY_CLASSES[class_index],
            glandularity=float(np.clip(glandularity + rng.uniform(-0.03, 0.03), 0.02, 0.95)),
            depth=depth * rng.uniform(0.95, 1.05),
            gland_contrast=gland_contrast,
            fat_level=fat_level,
            subcutaneous_fat=subcutaneous_fat,
        )
        for _ in range(count)
    ]


def draw_view(rng: np.random.Generator, breast: Breast, view: View, size: int) -> BreastView:
    """Draw the geometry of one view.

    Args:
        rng: Source of randomness.
        breast: The breast.
        view: "CC" or "MLO".
        size: Image side in pixels.

    Returns:
        The geometry.
    """
    x, y = pixel_grid(size)
    depth = breast.depth * rng.uniform(0.95, 1.05)
    profile, nipple_y = (_cc_profile if view == "CC" else _mlo_profile)(rng, y[:, 0], depth)
    mask = x < profile[:, None]
    nipple = (float(np.interp(nipple_y, y[:, 0], profile)), nipple_y)
    radius = rng.uniform(0.008, 0.018)
    mask |= np.hypot(x - nipple[0] + 0.4 * radius, (y - nipple[1]) / 1.3) < radius
    pectoral = _pectoral(rng, x, y, float(profile[0])) * mask if view == "MLO" else np.zeros_like(x * y)
    return BreastView(view, size, mask, _distance_to_skin(mask), pectoral, nipple, depth)


def skin_and_nipple(view: BreastView) -> Field:
    """Brightness of the skin line and the nipple.

    Args:
        view: The geometry.

    Returns:
        (S, S) brightness to add.
    """
    x, y = pixel_grid(view.size)
    skin = np.exp(-(((view.skin_distance - SKIN_THICKNESS) / (0.5 * SKIN_THICKNESS)) ** 2))
    nipple = np.exp(-((x - view.nipple[0]) ** 2 + (y - view.nipple[1]) ** 2) / (2 * 0.014**2))
    return np.asarray((0.07 * skin + 0.12 * nipple) * view.mask, dtype=np.float32)


def _cc_profile(rng: np.random.Generator, y: Field, depth: float) -> tuple[Field, float]:
    """Breast depth at each height in CC: a lopsided superellipse.

    Args:
        rng: Source of randomness.
        y: (S,) heights.
        depth: Largest depth.

    Returns:
        (S,) depths and the nipple's height.
    """
    centre, half_height = rng.uniform(0.46, 0.54), rng.uniform(0.40, 0.54)
    exponent, lopsided = rng.uniform(2.0, 2.5), rng.uniform(-0.15, 0.15)
    t = (y - centre) / half_height
    t = t + lopsided * (1 - t**2)
    profile = depth * np.clip(1 - np.abs(t) ** exponent, 0, None) ** (1 / rng.uniform(1.7, 2.1))
    return profile.astype(np.float32), float(y[np.argmax(profile)])


def _mlo_profile(rng: np.random.Generator, y: Field, depth: float) -> tuple[Field, float]:
    """Breast depth at each height in MLO: an axillary tail above, a round pole below.

    Args:
        rng: Source of randomness.
        y: (S,) heights.
        depth: Largest depth.

    Returns:
        (S,) depths and the nipple's height.
    """
    nipple_y, bottom = rng.uniform(0.54, 0.68), rng.uniform(0.93, 1.06)
    axilla = rng.uniform(0.45, 0.80)
    lower = np.clip((y - nipple_y) / (bottom - nipple_y), 0, 1)
    upper = np.clip((nipple_y - y) / nipple_y, 0, 1)
    pole = np.clip(1 - lower ** rng.uniform(2.0, 2.6), 0, None) ** (1 / rng.uniform(1.7, 2.1))
    tail = axilla + (1 - axilla) * 0.5 * (1 + np.cos(np.pi * upper ** rng.uniform(0.9, 1.15)))
    return (depth * np.where(y > nipple_y, pole, tail)).astype(np.float32), nipple_y


def _pectoral(rng: np.random.Generator, x: Field, y: Field, axilla_width: float) -> Field:
    """Pectoral muscle in MLO: a triangle in the upper corner at the chest wall, with a slightly bowed edge.

    Args:
        rng: Source of randomness.
        x: (1, S) coordinates.
        y: (S, 1) coordinates.
        axilla_width: Depth of the breast at the upper image border, which the muscle stays within.

    Returns:
        (S, S) in [0, 1].
    """
    width = min(rng.uniform(0.16, 0.36), 0.85 * axilla_width)
    height, bow = rng.uniform(0.35, 0.70), rng.uniform(-0.10, 0.25)
    along = np.clip(y / height, 0, 1)
    edge = width * ((1 - along) + bow * along * (1 - along)) - np.where(y > height, y - height, 0)
    return np.asarray(np.clip((edge - x) / rng.uniform(0.012, 0.040), 0, 1), dtype=np.float32)


def _distance_to_skin(mask: Mask) -> Field:
    """Distance of each breast pixel to the skin, which is not the image border.

    Args:
        mask: (S, S) the breast.

    Returns:
        (S, S) distances in image sides.
    """
    size = len(mask)
    margin = size // 4
    # The breast goes on beyond the image: at the chest wall, and where the detector cuts it above and below.
    padded = np.pad(mask, ((margin, margin), (margin, 0)), mode="edge")
    distance = ndimage.distance_transform_edt(padded)[margin:-margin, margin:]
    return np.asarray(distance / size, dtype=np.float32)
