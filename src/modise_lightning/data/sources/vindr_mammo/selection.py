"""Decides from VinDr-Mammo's tables which images are prepared, with which boxes, and why others are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.box_to_mask import Box
from modise_lightning.data.sources.vindr_mammo.tables import AnnotatedImage, Finding

# What the release holds; a download with other numbers is noted.
PUBLISHED_IMAGES = 20_000
PUBLISHED_BOXES = 2_254

Labels = Literal["birads", "finding"]
# What the release's tables name; a configuration may leave some out.
NAMES: dict[Labels, tuple[str, ...]] = {
    "birads": ("BI-RADS 3", "BI-RADS 4", "BI-RADS 5"),
    "finding": (
        "Mass",
        "Suspicious Calcification",
        "Architectural Distortion",
        "Asymmetry",
        "Focal Asymmetry",
        "Global Asymmetry",
        "Suspicious Lymph Node",
        "Skin Thickening",
        "Skin Retraction",
        "Nipple Retraction",
    ),
}
_BIRADS = re.compile(r"BI-?RADS\s*([0-6])", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledBox:
    """A box to prepare.

    Attributes:
        row: Line of the table of findings.
        label: Index of its category.
        box: Where it is.
    """

    row: int
    label: int
    box: Box


@dataclass(frozen=True)
class SelectedImage:
    """An image to prepare.

    Attributes:
        image: What the table says of it.
        path: Its file.
        boxes: Its usable boxes; none if it is normal.
    """

    image: AnnotatedImage
    path: Path
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True)
class Selection:
    """Which images are prepared.

    Attributes:
        images: In the order of the table; normal ones behind the others.
        counts: How many of what was found and is selected.
        classes: Boxes and images of each category, as annotated and as selected.
        problems: What contradicts itself or is missing.
        notes: What is left out by design.
    """

    images: list[SelectedImage]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    problems: list[str]
    notes: list[str]


def select_images(
    files: Mapping[str, Path],
    annotated: Mapping[str, AnnotatedImage],
    breasts: Mapping[str, str] | None,
    labels: Labels,
    category_names: Sequence[str],
    with_normals: bool = False,
) -> Selection:
    """Join the tables with the files.

    Args:
        files: File of each image id of the download.
        annotated: What the table of findings says of each image id.
        breasts: Official split of each image id by the other table, if that is there.
        labels: What a box's category is: the assessment of its finding, or the finding itself.
        category_names: Categories that are prepared; of several findings in a box the first one here counts.
        with_normals: Whether images without a finding are prepared too.

    Returns:
        What to prepare; nothing is read from the image files.
    """
    columns = ("boxes annotated", "images annotated", "boxes selected", "images selected")
    classes = {name: dict.fromkeys(columns, 0) for name in category_names}
    left_out: Counter[str] = Counter()
    images: list[SelectedImage] = []
    problems, notes = _compare(annotated, breasts)
    several = 0
    for image_id, image in annotated.items():
        boxes: list[LabelledBox] = []
        for finding in image.findings:
            known = _known_names(finding, labels)
            label = next((index for index, name in enumerate(category_names) if name in known), None)
            if label is not None:
                several += len(known) > 1
                boxes.append(LabelledBox(finding.row, label, finding.box))
            elif known or not _words(finding, labels):
                left_out[", ".join(known) or "no BI-RADS category"] += 1
            else:
                problems.append(
                    f"{image_id}: row {finding.row} of the findings is {_words(finding, labels)!r}, which is "
                    "no category of the release; its box is left out."
                )
        if not boxes:
            continue
        _count(classes, category_names, boxes, "annotated")
        if image_id not in files:
            problems.append(
                f"{image_id}.dicom: {_number(len(boxes))}, but no such file in the download; left out."
            )
            continue
        boxes, repeated = _without_repetitions(boxes)
        notes += [f"{image_id}: {reason}" for reason in repeated]
        _count(classes, category_names, boxes, "selected")
        images.append(SelectedImage(image, files[image_id], tuple(boxes)))
    notes += [
        f"{_number(number)} left out, being in no category that is prepared: {what}."
        for what, number in sorted(left_out.items())
    ]
    if several:
        notes.append(
            f"{_number(several)} with several findings: the first of them in data.categories counts."
        )
    unlisted = [image_id for image_id in files if image_id not in annotated]
    problems += [f"{files[image_id].name}: no usable row in the table of findings." for image_id in unlisted]
    counts = {
        "images in the download": len(files),
        "images in the tables": len(annotated),
        "images with boxes": sum(bool(image.findings) for image in annotated.values()),
        "boxes": sum(len(image.findings) for image in annotated.values()),
        "images selected": len(images),
        "boxes selected": sum(len(image.boxes) for image in images),
        "studies selected": len({image.image.study_id for image in images}),
    }
    if with_normals:
        normals = _select_normals(files, annotated, problems)
        counts["normal images in the tables"] = sum(image.is_normal for image in annotated.values())
        counts["normal images selected"] = len(normals)
        images += normals
    return Selection(images, counts, classes, problems, notes)


def _select_normals(
    files: Mapping[str, Path], annotated: Mapping[str, AnnotatedImage], problems: list[str]
) -> list[SelectedImage]:
    """Choose the images without a finding; those of findings in no prepared category are not normal."""
    normals = {image_id: image for image_id, image in annotated.items() if image.is_normal}
    missing = [image_id for image_id in normals if image_id not in files]
    if missing:  # perhaps most of them, in a download of what the paper uses
        problems.append(
            f"{len(missing)} images without a finding are not in the download and are left out; the first is "
            f"{missing[0]}.dicom."
        )
    return [
        SelectedImage(image, files[image_id], ()) for image_id, image in normals.items() if image_id in files
    ]


def _words(finding: Finding, labels: Labels) -> str:
    """Give what the table calls a finding."""
    return finding.birads if labels == "birads" else ", ".join(finding.categories)


def _known_names(finding: Finding, labels: Labels) -> list[str]:
    """Give what a finding is, in the release's spelling."""
    if labels == "birads":
        match = _BIRADS.fullmatch(finding.birads)
        return [f"BI-RADS {match[1]}"] if match else []
    spelling = {name.lower(): name for name in NAMES["finding"]}
    return [spelling[name.lower()] for name in finding.categories if name.lower() in spelling]


def _compare(
    annotated: Mapping[str, AnnotatedImage], breasts: Mapping[str, str] | None
) -> tuple[list[str], list[str]]:
    """Compare both tables."""
    if breasts is None:
        return [], []
    problems = [
        f"{image_id}: its split is {image.split!r} in the table of findings and {breasts[image_id][:40]!r} "
        "in that of breasts; the former counts."
        for image_id, image in annotated.items()
        if breasts.get(image_id, image.split) != image.split
    ]
    notes = []
    for number, one, other in (
        (len(annotated.keys() - breasts.keys()), "findings", "breasts"),
        (len(breasts.keys() - annotated.keys()), "breasts", "findings"),
    ):
        if number:
            notes.append(f"{number} images are in the table of {one} and not in that of {other}.")
    return problems, notes


def _without_repetitions(boxes: Sequence[LabelledBox]) -> tuple[list[LabelledBox], list[str]]:
    usable: dict[tuple[Box, int], LabelledBox] = {}
    reasons = []
    for box in boxes:
        same = usable.setdefault((box.box, box.label), box)
        if same is box:
            continue
        reasons.append(f"the box in row {box.row} repeats row {same.row} exactly; left out.")
    return list(usable.values()), reasons


def _count(
    classes: dict[str, dict[str, int]], names: Sequence[str], boxes: Sequence[LabelledBox], what: str
) -> None:
    for box in boxes:
        classes[names[box.label]][f"boxes {what}"] += 1
    for label in {box.label for box in boxes}:
        classes[names[label]][f"images {what}"] += 1


def _number(boxes: int) -> str:
    return "1 box" if boxes == 1 else f"{boxes} boxes"
