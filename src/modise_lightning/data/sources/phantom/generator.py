"""One phantom patient: one or two breasts, each in CC and MLO, with the same lesions in both views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.sources.phantom.anatomy import (
    SKIN_THICKNESS,
    Breast,
    BreastView,
    Field,
    Laterality,
    View,
    draw_breasts,
    draw_view,
    skin_and_nipple,
)
from modise_lightning.data.sources.phantom.lesions import (
    Lesion,
    LesionKind,
    LesionStatistics,
    RenderedLesion,
    draw_lesion,
    render_lesion,
)
from modise_lightning.data.sources.phantom.noise import blur
from modise_lightning.data.sources.phantom.parenchyma import draw_distractors, draw_parenchyma, draw_vessels

VIEWS: tuple[View, ...] = ("CC", "MLO")
_PLACEMENT_ATTEMPTS = 60  # in all views at once
_DRAWS = 5  # lesions to try, as a large one fits in few places
_LESION_GAP = 0.015


@dataclass(frozen=True)
class PhantomImage:
    """One synthetic mammogram.

    Attributes:
        laterality: "L" or "R"; a right breast has its chest wall at the right image border.
        view: "CC" or "MLO".
        density: ACR density class.
        pixels: (S, S) uint16.
        segment_ids: (S, S) int32; 0 no lesion, 1..N the lesions.
        kinds: (N,) what the lesions are.
    """

    laterality: Laterality
    view: View
    density: str
    pixels: NDArray[np.uint16]
    segment_ids: NDArray[np.int32]
    kinds: tuple[LesionKind, ...]


@dataclass(frozen=True)
class _PlacedLesion:
    """A lesion and its centre (x, y) in each view."""

    lesion: Lesion
    centres: tuple[tuple[float, float], ...]


def generate_patient(
    seed: np.random.SeedSequence,
    image_size: int,
    both_breasts_probability: float,
    statistics: LesionStatistics,
) -> list[PhantomImage]:
    """Generate all images of one patient.

    Args:
        seed: The patient's own seed; equal seeds give equal images.
        image_size: Image side in pixels.
        both_breasts_probability: Probability that both breasts were imaged rather than one.
        statistics: How many lesions, how large, how visible.

    Returns:
        Two images (CC and MLO) of each breast, left breast first.
    """
    # Whatever is drawn per pixel has its own stream, so that anatomy and lesions do not depend on the
    # number of pixels (but for a lesion that just fits at one image size and just does not at another).
    rng = np.random.default_rng(seed)
    both = rng.uniform() < both_breasts_probability
    sides: tuple[Laterality, ...] = ("L", "R") if both else ("L",) if rng.uniform() < 0.5 else ("R",)
    images = []
    breasts = draw_breasts(rng, len(sides))
    for laterality, breast, breast_seed in zip(sides, breasts, seed.spawn(len(sides)), strict=True):
        geometry_seed, lesion_seed, *pixel_seeds = breast_seed.spawn(2 + len(VIEWS))
        geometry_rng = np.random.default_rng(geometry_seed)
        views = [draw_view(geometry_rng, breast, view, image_size) for view in VIEWS]
        lesion_rng = np.random.default_rng(lesion_seed)
        placed = _place_lesions(lesion_rng, views, statistics)
        rotations = lesion_rng.uniform(0, np.pi, (len(VIEWS), len(placed)))
        for index, (view, pixel_seed) in enumerate(zip(views, pixel_seeds, strict=True)):
            lesions = [
                render_lesion(item.lesion, item.centres[index], float(rotation), image_size)
                for item, rotation in zip(placed, rotations[index], strict=True)
            ]
            pixels = _expose(np.random.default_rng(pixel_seed), breast, view, lesions)
            segment_ids = _segment_ids(view, lesions)
            if laterality == "R":
                pixels, segment_ids = pixels[:, ::-1], segment_ids[:, ::-1]
            images.append(
                PhantomImage(
                    laterality=laterality,
                    view=view.view,
                    density=breast.density,
                    pixels=np.ascontiguousarray(pixels),
                    segment_ids=np.ascontiguousarray(segment_ids),
                    kinds=tuple(item.lesion.kind for item in placed),
                )
            )
    return images


def _place_lesions(
    rng: np.random.Generator, views: list[BreastView], statistics: LesionStatistics
) -> list[_PlacedLesion]:
    """Draw a breast's lesions and find places where each lies whole and apart from the others in every view.

    Args:
        rng: Source of randomness.
        views: Geometry of each view.
        statistics: How many lesions, how large, how visible.

    Returns:
        The lesions; where none of several finds a place there is one less.
    """
    count = int(rng.choice(len(statistics.count_probabilities), p=statistics.count_probabilities))
    placed: list[_PlacedLesion] = []
    for _ in range(count):
        for _ in range(_DRAWS):
            found = _place(rng, draw_lesion(rng, statistics), views, placed)
            if found is not None:
                placed.append(found)
                break
    return placed


def _place(
    rng: np.random.Generator, lesion: Lesion, views: list[BreastView], others: list[_PlacedLesion]
) -> _PlacedLesion | None:
    """Find a place for a lesion.

    Args:
        rng: Source of randomness.
        lesion: The lesion.
        views: Geometry of each view.
        others: The lesions that are there.

    Returns:
        The lesion with its centres, or None where it finds no place.
    """
    for _ in range(_PLACEMENT_ATTEMPTS):
        centres = tuple(_project(rng, lesion, view) for view in views)
        if all(
            _fits(view, centre, lesion.radius, [(item.centres[index], item.lesion.radius) for item in others])
            for index, (view, centre) in enumerate(zip(views, centres, strict=True))
        ):
            return _PlacedLesion(lesion, centres)
    return None


def _project(rng: np.random.Generator, lesion: Lesion, view: BreastView) -> tuple[float, float]:
    """Draw where a lesion shows in a view; its distance from the nipple is given, its direction is free.

    Args:
        rng: Source of randomness.
        lesion: The lesion.
        view: Geometry.

    Returns:
        (x, y) of its centre.
    """
    direction = rng.normal(0, 0.6)
    distance = lesion.nipple_distance * view.depth
    return (
        float(view.nipple[0] - distance * np.cos(direction)),
        float(view.nipple[1] - distance * np.sin(direction)),
    )


def _fits(
    view: BreastView,
    centre: tuple[float, float],
    radius: float,
    others: list[tuple[tuple[float, float], float]],
) -> bool:
    """Whether a lesion at a place is inside the breast and the image and apart from the others.

    Args:
        view: Geometry.
        centre: (x, y) of its centre.
        radius: Its radius.
        others: Centre and radius of the lesions that are there.

    Returns:
        Whether it fits.
    """
    # An elongated or spiculated outline reaches beyond the mean radius.
    reach = 1.3 * radius
    if not (reach < centre[0] < 1 - reach and reach < centre[1] < 1 - reach):
        return False
    column, row = int(centre[0] * view.size), int(centre[1] * view.size)
    if view.skin_distance[row, column] < reach + SKIN_THICKNESS or view.pectoral[row, column] > 0.5:
        return False
    return all(
        np.hypot(centre[0] - x, centre[1] - y) > reach + 1.3 * other_radius + _LESION_GAP
        for (x, y), other_radius in others
    )


def _segment_ids(view: BreastView, lesions: list[RenderedLesion]) -> NDArray[np.int32]:
    """Paint the outlines into one map, the smaller over the larger.

    Args:
        view: Geometry.
        lesions: The lesions, numbered from 1.

    Returns:
        (S, S) segment of each pixel.
    """
    segment_ids = np.zeros((view.size, view.size), dtype=np.int32)
    for index in sorted(range(len(lesions)), key=lambda index: -int(lesions[index].mask.sum())):
        segment_ids[lesions[index].mask & view.mask] = index + 1
    return segment_ids


def _expose(
    rng: np.random.Generator, breast: Breast, view: BreastView, lesions: list[RenderedLesion]
) -> NDArray[np.uint16]:
    """Make the image that a detector would give: tissue, lesions, saturation, blur and noise.

    Args:
        rng: Source of randomness.
        breast: The breast.
        view: Its geometry.
        lesions: The lesions in this view.

    Returns:
        (S, S) pixels over the whole range of 16 bits.
    """
    tissue: Field = draw_parenchyma(rng, breast, view) + skin_and_nipple(view)
    tissue += draw_vessels(rng, view) + draw_distractors(rng, view)
    for lesion in lesions:
        tissue += lesion.brightness * view.mask
    # Brightness saturates smoothly toward white, as display curves make it.
    tissue = np.where(tissue > 0.6, 0.6 + 0.4 * np.tanh((tissue - 0.6) / 0.4), np.clip(tissue, 0, None))
    tissue = blur(tissue, rng.uniform(0.0014, 0.0024) * view.size)
    # Quantum noise: a detector sees fewer photons behind bright (dense) tissue, so noise grows there.
    noise = blur(rng.standard_normal(tissue.shape, dtype=np.float32), 0.5)
    noise *= rng.uniform(0.010, 0.024) * np.sqrt(0.1 + tissue) * (tissue > 0.01)
    return np.asarray(np.round(np.clip(tissue + noise, 0, 1) * 65535), dtype=np.uint16)
