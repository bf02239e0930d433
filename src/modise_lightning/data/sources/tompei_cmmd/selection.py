"""Decides which images of TOMPEI-CMMD are prepared, with which outlines, and why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.via_shapes import Polygon
from modise_lightning.data.sources.tompei_cmmd.files import BreastView, DownloadFiles
from modise_lightning.data.sources.tompei_cmmd.tables import FINDINGS, Breast, read_outlines
from modise_lightning.errors import UserError

# What the release holds, as its users count it; a download with other numbers is noted.
PUBLISHED_IMAGES = 1_385
PUBLISHED_LESIONS = 1_773

Labels = Literal["pathology", "finding"]
# What an outline can be called; a configuration may leave some out.
NAMES: dict[Labels, tuple[str, ...]] = {"pathology": ("benign", "malignant"), "finding": FINDINGS}


@dataclass(frozen=True)
class LabelledOutline:
    """An outline to prepare.

    Attributes:
        number: Its place in the file.
        label: Index of its category.
        shape: What it encloses.
    """

    number: int
    label: int
    shape: Polygon


@dataclass(frozen=True)
class SelectedImage:
    """An image to prepare.

    Attributes:
        image: What it shows, its side as TOMPEI corrects it.
        number: Its place among the images with outlines, from 1.
        path: The file whose header says so.
        other: The file of the other breast, if there is one: in some patients the two headers are swapped.
        breast: Its row of the workbook.
        outlines: The usable ones, at least one.
    """

    image: BreastView
    number: int
    path: Path
    other: Path | None
    breast: Breast
    outlines: tuple[LabelledOutline, ...]


@dataclass(frozen=True)
class Selection:
    """Which images are prepared.

    Attributes:
        images: In the order of patients and sides.
        counts: How many of what was found and is selected.
        classes: Outlines and images of each category, as annotated and as selected.
        breasts: Breasts of each class in the workbook, and how many of them are outlined.
        problems: What contradicts itself or is missing.
        notes: What is corrected, or left out by design.
    """

    images: list[SelectedImage]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    breasts: dict[str, dict[str, int]]
    problems: list[str]
    notes: list[str]


def select_images(
    files: DownloadFiles,
    breasts: Mapping[tuple[str, str], Breast],
    labels: Labels,
    category_names: Sequence[str],
) -> Selection:
    """Join images, outlines and the workbook.

    Args:
        files: Where everything is.
        breasts: Row of each patient and side.
        labels: What an outline's category is: the pathology of its breast, or its own label.
        category_names: Categories that are prepared.

    Returns:
        What to prepare; of the image files only the headers were read.
    """
    images, notes = correct_sides(files.images, breasts)
    columns = ("outlines annotated", "images annotated", "outlines selected", "images selected")
    classes = {name: dict.fromkeys(columns, 0) for name in category_names}
    of_classes: dict[str, dict[str, int]] = {}
    for breast in breasts.values():
        row = of_classes.setdefault(breast.classification, {"breasts": 0, "breasts outlined": 0})
        row["breasts"] += 1
    left_out: Counter[str] = Counter()
    selected: list[SelectedImage] = []
    problems: list[str] = []
    total = 0
    for number, image in enumerate(sorted(files.outlines), start=1):
        path = files.outlines[image]
        try:
            outlines, wrong = read_outlines(path)
        except UserError as error:
            problems.append(f"{path.name}: {error}; its image is left out. Get the file anew.")
            continue
        total += len(outlines) + len(wrong)
        problems += [f"{path.name}: {reason}; left out." for reason in wrong]
        found = breasts.get((image.patient, image.side))
        if found is None:
            problems.append(f"{path.name}: its breast has no usable row in the workbook; left out.")
            continue
        of_classes[found.classification]["breasts outlined"] += 1
        if found.classification == "exclusion" or found.reason:
            notes.append(
                f"{path.name}: its breast should be left out by row {found.row} of the workbook"
                f" ({found.reason or 'no reason given'}); left out."
            )
            continue
        if labels == "pathology" and found.classification not in NAMES["pathology"]:
            problems.append(
                f"{path.name}: outlines, but row {found.row} of the workbook calls the breast "
                f"{found.classification}; left out."
            )
            continue
        usable: list[LabelledOutline] = []
        annotated: list[str] = []
        for outline in outlines:
            category = found.classification if labels == "pathology" else outline.finding
            if category is None:
                problems.append(
                    f"{path.name}: lesion {outline.number} is called {outline.label[:40]!r}, which is no "
                    "label of the release; left out."
                )
            elif category not in classes:
                left_out[category] += 1
            else:
                annotated.append(category)
                usable.append(LabelledOutline(outline.number, category_names.index(category), outline.shape))
        _count(classes, annotated, "annotated")
        if not usable:
            continue
        if image not in images:
            problems.append(f"{path.name}: no image of {image.name} in the download; left out.")
            continue
        _count(classes, annotated, "selected")
        other = images.get(BreastView(image.patient, image.view, {"L": "R", "R": "L"}[image.side]))
        selected.append(SelectedImage(image, number, images[image], other, found, tuple(usable)))
    notes += [
        f"{number} outlines left out, being in no category that is prepared: {what}."
        for what, number in sorted(left_out.items())
    ]
    counts = {
        "images in the download": len(files.images),
        "breasts in the workbook": len(breasts),
        "images with outlines": len(files.outlines),
        "outlines": total,
        "images selected": len(selected),
        "outlines selected": sum(len(image.outlines) for image in selected),
        "patients selected": len({image.image.patient for image in selected}),
    }
    return Selection(selected, counts, classes, of_classes, problems, notes)


def correct_sides(
    images: Mapping[BreastView, Path], breasts: Mapping[tuple[str, str], Breast]
) -> tuple[dict[BreastView, Path], list[str]]:
    """Correct the side of images whose patient the workbook has on the other side only.

    Returns:
        The images by what they show, and a sentence for each patient that is corrected.
    """
    told: dict[str, set[str]] = {}
    for patient, side in breasts:
        told.setdefault(patient, set()).add(side)
    tagged: dict[str, set[str]] = {}
    for image in images:
        tagged.setdefault(image.patient, set()).add(image.side)
    reversed_patients = {
        patient: next(iter(told[patient]))
        for patient, sides in tagged.items()
        if len(sides) == 1 and len(told.get(patient, ())) == 1 and told[patient] != sides
    }
    corrected = {
        BreastView(image.patient, image.view, reversed_patients.get(image.patient, image.side)): path
        for image, path in images.items()
    }
    notes = [
        f"{patient}: its images say {'R' if side == 'L' else 'L'} and the workbook has only {side}: left and "
        "right are corrected."
        for patient, side in sorted(reversed_patients.items())
    ]
    return corrected, notes


def _count(classes: dict[str, dict[str, int]], names: Sequence[str], what: str) -> None:
    for name in names:
        classes[name][f"outlines {what}"] += 1
    for name in set(names):
        classes[name][f"images {what}"] += 1
