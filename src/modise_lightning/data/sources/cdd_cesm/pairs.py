"""Puts the low-energy and the subtracted image of a view together, and unites what is outlined in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import CroppedMask
from modise_lightning.data.sources.cdd_cesm.selection import Partner, SelectedImage, Selection
from modise_lightning.data.sources.cdd_cesm.tables import ImageName

# Whose outline a lesion has that both images outline: both together, or that of one.
Outlines = Literal["union", "low_energy", "subtracted"]
View = tuple[int, str]  # patient, and the stem of both without the modality


def view_of(name: ImageName) -> View:
    """Give what the two images of a view have in common."""
    code = "DM" if name.modality == "low_energy" else "CM"
    return name.patient, name.stem.replace(f"_{code}_", "_", 1)


def pair_images(
    selection: Selection, files: Mapping[ImageName, Path], category_names: Sequence[str]
) -> Selection:
    """Make pairs of the selected images.

    A pair needs the file of both, and takes its category from those of them that are selected. One that is
    not selected, since nothing is outlined in it, brings its pixels.

    Args:
        selection: Single images of both modalities.
        files: File of each image of the download.
        category_names: Of two categories the first one here counts, where images may have several.

    Returns:
        The pairs; what cannot be paired is named in the problems.
    """
    by_view: dict[View, dict[str, SelectedImage]] = {}
    for image in selection.images:
        by_view.setdefault(view_of(image.name), {})[image.name.modality] = image
    paths: dict[View, dict[str, Path]] = {}
    for name, path in files.items():
        paths.setdefault(view_of(name), {})[name.modality] = path
    pairs, normals, problems, notes = list[SelectedImage](), list[SelectedImage](), list[str](), list[str]()
    for view, images in by_view.items():
        missing = {"low_energy", "subtracted"} - paths[view].keys()
        first = next(iter(images.values()))
        if missing:
            what = missing.pop().replace("_", "-")
            problems.append(f"{first.name.stem}: the download has no {what} image of its view; left out.")
            continue
        outlined = [image for image in images.values() if image.category is not None]
        if not outlined and len(images) == 1:
            notes.append(f"{first.name.stem}: normal, but the other image of its view is not; left out.")
            continue
        pathologies = {str(image.attributes["classification"]) for image in outlined}
        if len(pathologies) > 1:
            told = " and the other ".join(sorted(pathologies))
            problems.append(f"{view[1]}: the sheet calls one image {told}; left out.")
            continue
        categories = {image.category for image in outlined}
        category = next((known for known in category_names if known in categories), None)
        pair = _pair(view, images, paths[view], category)
        (normals if category is None else pairs).append(pair)
    counts = {
        **selection.counts,
        "pairs selected": len(pairs),
        "pairs outlined in the low-energy image alone": sum(not _regions_of_partner(pair) for pair in pairs),
        "pairs outlined in the subtracted image alone": sum(not pair.regions for pair in pairs),
    }
    return replace(
        selection,
        images=pairs + normals,
        counts=counts,
        problems=[*selection.problems, *problems],
        notes=[*selection.notes, *notes],
    )


def _regions_of_partner(pair: SelectedImage) -> tuple[ViaRegion, ...]:
    return () if pair.partner is None else pair.partner.regions


def _pair(
    view: View, images: Mapping[str, SelectedImage], paths: Mapping[str, Path], category: str | None
) -> SelectedImage:
    low_energy, subtracted = images.get("low_energy"), images.get("subtracted")
    # What the index says of the pair is what the sheet says of the image that gives its category.
    first = next(image for image in (low_energy, subtracted) if image and image.category == category)
    return replace(
        first,
        name=replace(first.name, stem=view[1]),
        path=paths["low_energy"],
        category=category,
        regions=() if low_energy is None else low_energy.regions,
        attributes={**first.attributes, "modality": "pair"},
        partner=Partner(paths["subtracted"], () if subtracted is None else subtracted.regions),
    )


def unite(
    low_energy: Sequence[CroppedMask],
    subtracted: Sequence[CroppedMask],
    outlines: Outlines,
    minimum_iou: float,
) -> list[tuple[int | None, int | None, CroppedMask]]:
    """Unite the outlines of two images of one view.

    Each lesion of one is matched with at most one of the other, so that their intersections over unions add
    up to the most; a match of less than the minimum is none. What is matched is one lesion, the others stay.

    Args:
        low_energy: Masks of the low-energy image, each with at least one pixel.
        subtracted: Masks of the subtracted image, likewise.
        outlines: Which mask a matched lesion has.
        minimum_iou: Least intersection over union of a match, in (0, 1].

    Returns:
        For each lesion its position in both, as far as it is there, and its mask: those of the low-energy
        image first, then those that the subtracted one alone has.
    """
    overlaps = np.array([[_iou(one, other) for other in subtracted] for one in low_energy])
    matches: dict[int, int] = {}
    if overlaps.size:
        for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[row, column] >= minimum_iou:
                matches[int(row)] = int(column)
    united: list[tuple[int | None, int | None, CroppedMask]] = []
    for position, mask in enumerate(low_energy):
        match = matches.get(position)
        if match is not None and outlines != "low_energy":
            other = subtracted[match]
            mask = other if outlines == "subtracted" else _union(mask, other)
        united.append((position, match, mask))
    alone = sorted(set(range(len(subtracted))) - set(matches.values()))
    return united + [(None, position, subtracted[position]) for position in alone]


def _iou(one: CroppedMask, other: CroppedMask) -> float:
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(mask.top + mask.mask.shape[0] for mask in (one, other))
    right = min(mask.left + mask.mask.shape[1] for mask in (one, other))
    if bottom <= top or right <= left:
        return 0.0
    shared = int(
        np.count_nonzero(_part(one, top, left, bottom, right) & _part(other, top, left, bottom, right))
    )
    return shared / (one.area + other.area - shared)


def _part(mask: CroppedMask, top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    return mask.mask[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]


def _union(one: CroppedMask, other: CroppedMask) -> CroppedMask:
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom = max(mask.top + mask.mask.shape[0] for mask in (one, other))
    right = max(mask.left + mask.mask.shape[1] for mask in (one, other))
    pixels = np.zeros((bottom - top, right - left), dtype=np.bool_)
    for mask in (one, other):
        _part(CroppedMask(top, left, pixels), *_box(mask))[mask.mask] = True
    return CroppedMask(top, left, pixels)


def _box(mask: CroppedMask) -> tuple[int, int, int, int]:
    return mask.top, mask.left, mask.top + mask.mask.shape[0], mask.left + mask.mask.shape[1]
