"""Decides which images of INbreast are prepared, with which outlines, and why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.via_shapes import Shape, bears_area
from modise_lightning.data.sources.inbreast.annotations import FINDINGS, Region, read_regions
from modise_lightning.data.sources.inbreast.tables import (
    ASSESSMENTS,
    CaseImage,
    DownloadFiles,
    TableRow,
    images_of,
)
from modise_lightning.errors import UserError

PUBLISHED_IMAGES = 410  # of the release; a download with another number is noted

Labels = Literal["finding", "birads"]
# What an outline can be called; a configuration may leave some out.
NAMES: dict[Labels, tuple[str, ...]] = {
    "finding": FINDINGS,
    "birads": tuple(f"BI-RADS {category}" for category in ASSESSMENTS),
}

# Assessments that an image without an outline may have: negative, and benign (ACR BI-RADS).
_FREE_OF_SUSPICION = ("1", "2")


@dataclass(frozen=True)
class LabelledRegion:
    """An outline to prepare.

    Attributes:
        number: Its place in the file.
        label: Index of its category.
        shape: What it encloses.
    """

    number: int
    label: int
    shape: Shape


@dataclass(frozen=True)
class SelectedImage:
    """An image to prepare.

    Attributes:
        image: What its name and its row say of it.
        path: Its file.
        regions: Its usable outlines; none if it is normal.
    """

    image: CaseImage
    path: Path
    regions: tuple[LabelledRegion, ...]


@dataclass(frozen=True)
class Selection:
    """Which images are prepared.

    Attributes:
        images: In the order of their numbers; normal ones behind the others.
        counts: How many of what was found and is selected.
        classes: Outlines and images of each category, as annotated and as selected.
        names: Outlines by the name that they have in the release, and the finding that it means.
        problems: What contradicts itself or is missing.
        notes: What is left out by design.
    """

    images: list[SelectedImage]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    names: dict[str, dict[str, int]]
    problems: list[str]
    notes: list[str]


def select_images(
    files: DownloadFiles,
    rows: dict[int, TableRow],
    labels: Labels,
    category_names: Sequence[str],
    point_radius: float,
    with_normals: bool = False,
) -> Selection:
    """Join table, images and outlines.

    Args:
        files: Where everything is.
        rows: Row of each image.
        labels: What an outline's category is: its finding, or the assessment of its image.
        category_names: Categories that are prepared.
        point_radius: Of the disc that a single point becomes, in pixels; 0 leaves points out.
        with_normals: Whether images without outlines are prepared too.

    Returns:
        What to prepare; nothing is read from the image files.
    """
    images, found_problems = images_of(files, rows)
    problems = list(found_problems)
    columns = ("outlines annotated", "images annotated", "outlines selected", "images selected")
    classes = {name: dict.fromkeys(columns, 0) for name in category_names}
    names: Counter[tuple[str, str]] = Counter()
    left_out: Counter[str] = Counter()
    selected: list[SelectedImage] = []
    normals: list[CaseImage] = []
    total = 0
    for image in images:
        outlines = files.outlines.get(image.number)
        if outlines is None:
            normals.append(image)
            continue
        try:
            regions, wrong = read_regions(outlines)
        except UserError as error:
            problems.append(f"{outlines.name}: {error}; its image is left out. Get the file anew.")
            continue
        problems += [f"{outlines.name}: {reason}; left out." for reason in wrong]
        total += len(regions) + len(wrong)
        if not regions and not wrong:
            normals.append(image)
            continue
        usable: list[LabelledRegion] = []
        annotated: list[str] = []
        for region in regions:
            names[region.name.strip() or "(none)", region.finding or "(no finding)"] += 1
            category = _category(region, image, labels)
            if category is None:
                problems.append(
                    f"{outlines.name}: region {region.number} is called {region.name[:40]!r}, which is no "
                    "finding of the release; left out."
                )
                continue
            if category not in classes:
                left_out[f"being in no category that is prepared: {category}"] += 1
                continue
            annotated.append(category)
            shape = region.shape(point_radius)
            if shape is None or not bears_area(shape):
                left_out[f"being {_marks(region)}"] += 1
                continue
            usable.append(LabelledRegion(region.number, category_names.index(category), shape))
        _count(classes, annotated, "annotated")
        usable, repeated = _without_repetitions(usable)
        if repeated:
            left_out["repeating another one exactly"] += repeated
        _count(classes, [category_names[region.label] for region in usable], "selected")
        if usable:
            selected.append(SelectedImage(image, files.images[image.number], tuple(usable)))
    notes = [f"{number} outlines left out, {why}." for why, number in sorted(left_out.items())]
    unnamed = sum(number for (name, _), number in names.items() if not _is_named(name))
    if unnamed:
        notes.append(f"{unnamed} outlines that no one named (Unnamed, Point 1, ...) are calcifications.")
    if normals and not with_normals:
        notes.append(
            f"{len(normals)} images without an outline are normals and are left out: "
            f"{', '.join(str(image.number) for image in normals)}."
        )
    counts = {
        "images in the download": len(files.images),
        "images in the table": len(rows),
        "images with outlines": len(files.outlines),
        "outlines": total,
        "images without outlines (normals)": len(normals),
        "images selected": len(selected),
        "outlines selected": sum(len(image.regions) for image in selected),
        "patients selected": len({image.image.patient for image in selected}),
    }
    if with_normals:
        free = [image for image in normals if image.birads in _FREE_OF_SUSPICION]
        problems += [
            f"{image.number}: no outline, but BI-RADS {image.birads}, so that it is not normal; left out."
            for image in normals
            if image not in free
        ]
        counts["normal images selected"] = len(free)
        selected += [SelectedImage(image, files.images[image.number], ()) for image in free]
    table = {name: {f"outlines of {finding}": number} for (name, finding), number in names.most_common()}
    return Selection(selected, counts, classes, table, problems, notes)


def _category(region: Region, image: CaseImage, labels: Labels) -> str | None:
    if region.finding is None:
        return None
    return region.finding if labels == "finding" else f"BI-RADS {image.birads}"


def _is_named(name: str) -> bool:
    return Region(0, "" if name == "(none)" else name, None, ()).is_named


def _marks(region: Region) -> str:
    return {1: "single points", 2: "lines of two points"}.get(
        len(set(region.points)), "outlines without area"
    )


def _without_repetitions(regions: Sequence[LabelledRegion]) -> tuple[list[LabelledRegion], int]:
    kept: dict[tuple[Shape, int], LabelledRegion] = {}
    for region in regions:
        kept.setdefault((region.shape, region.label), region)
    return list(kept.values()), len(regions) - len(kept)


def _count(classes: dict[str, dict[str, int]], names: Sequence[str], what: str) -> None:
    for name in names:
        classes[name][f"outlines {what}"] += 1
    for name in set(names):
        classes[name][f"images {what}"] += 1
