"""Decides from CDD-CESM's tables which images are prepared, with which regions, and why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import Shape, bears_area
from modise_lightning.data.sources.cdd_cesm.findings import KINDS, kinds_of_finding
from modise_lightning.data.sources.cdd_cesm.tables import ImageName, Modality, SheetRow

# What the release holds, counted on its tables; a download with other numbers is noted.
PUBLISHED_IMAGES = 2006
PUBLISHED_REGIONS = 2971

Labels = Literal["pathology", "finding"]
# What the sheet's images can be called; a configuration may leave some out.
NAMES: dict[Labels, tuple[str, ...]] = {"pathology": ("benign", "malignant"), "finding": KINDS}


@dataclass(frozen=True)
class Partner:
    """The subtracted image of a pair.

    Attributes:
        path: Its file.
        regions: The usable regions that are outlined in it.
    """

    path: Path
    regions: tuple[ViaRegion, ...]


@dataclass(frozen=True)
class SelectedImage:
    """An image to prepare.

    Attributes:
        name: What its name says of it.
        image_id: Its number: the image's row in the sheet below the header.
        path: Its file.
        category: The class of the image and so of each region, as the paper has it; None if it is normal.
        regions: The usable regions; none if it is normal.
        attributes: What goes into the index beside it.
        partner: Of a low-energy image that is prepared with its subtracted one; None for a single image.
    """

    name: ImageName
    image_id: int
    path: Path
    category: str | None
    regions: tuple[ViaRegion, ...]
    attributes: dict[str, str | int]
    partner: Partner | None = None


@dataclass(frozen=True)
class Selection:
    """Which images are prepared.

    Attributes:
        images: In the order of patients and names; normal ones behind the others.
        counts: How many of what was found and is selected.
        classes: Images and regions of each class, as annotated (the numbers of the paper) and as selected.
        findings: Images with each combination of kinds of finding, and the category that they take; empty if
            pathology is what is labelled.
        problems: What contradicts itself or is missing.
        notes: What is left out by design.
    """

    images: list[SelectedImage]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    findings: dict[str, dict[str, int]]
    problems: list[str]
    notes: list[str]


def select_images(
    files: Mapping[ImageName, Path],
    sheet: Mapping[ImageName, SheetRow],
    regions: Mapping[ImageName, Sequence[ViaRegion]],
    labels: Labels,
    category_names: Sequence[str],
    modalities: Collection[Modality],
    with_normals: bool = False,
) -> Selection:
    """Join the tables with the files.

    Args:
        files: File of each image of the download.
        sheet: Row of each image in the sheet.
        regions: Regions of each image.
        labels: What an image's category is: its pathology, or the kind of finding that its text names.
        category_names: Categories that are prepared; of several kinds of finding the first one here counts.
        modalities: Kinds of image that are prepared.
        with_normals: Whether images that the sheet calls normal are prepared too.

    Returns:
        What to prepare; nothing is read from the image files.
    """
    files = {name: path for name, path in files.items() if name.modality in modalities}
    sheet = {name: row for name, row in sheet.items() if name.modality in modalities}
    regions = {name: found for name, found in regions.items() if name.modality in modalities}
    images: list[SelectedImage] = []
    problems: list[str] = []
    notes: list[str] = []
    columns = ("images annotated", "regions annotated", "images selected", "regions selected")
    classes = {name: dict.fromkeys(columns, 0) for name in category_names}
    combinations: Counter[tuple[str, str]] = Counter()
    left_out: Counter[str] = Counter()
    patients: set[int] = set()
    for name in sorted(regions):
        found = regions[name]
        row = sheet.get(name)
        if row is None:
            problems.append(f"{name.stem}: {_number(found)}, but no usable row in the sheet; left out.")
            continue
        if row.classification == "normal":
            notes.append(f"{name.stem}: {_number(found)} although the sheet calls it normal; left out.")
            continue
        if row.classification not in NAMES["pathology"]:
            problems.append(
                f"{name.stem}: the sheet's row {row.row} calls it {row.classification!r}, expected normal, "
                f"{' or '.join(NAMES['pathology'])}; left out."
            )
            continue
        patients.add(name.patient)
        if labels == "finding" and "findings" not in row.attributes:
            problems.append(f"{name.stem}: the sheet's row {row.row} gives no finding; left out.")
            continue
        kinds = _kinds(row, labels)
        category = next((known for known in category_names if known in kinds), None)
        if category is None:
            left_out[", ".join(kinds)] += 1
            continue
        combinations[" + ".join(kinds), category] += 1
        numbers = classes[category]
        numbers["images annotated"] += 1
        numbers["regions annotated"] += len(found)
        if name not in files:
            problems.append(f"{name.stem}.jpg: {_number(found)}, but no such file in the download; left out.")
            continue
        usable, why_not = usable_regions(found)
        notes += [f"{name.stem}: {reason}" for reason in why_not]
        if not usable:
            notes.append(f"{name.stem}: no usable region; left out.")
            continue
        numbers["images selected"] += 1
        numbers["regions selected"] += len(usable)
        images.append(_selected(name, row, files[name], category, usable))
    without = sorted(
        name
        for name, row in sheet.items()
        if row.classification in NAMES["pathology"] and name not in regions
    )
    if without:
        names = ", ".join(name.stem for name in without)
        notes.append(f"{len(without)} benign or malignant images have no region and are left out: {names}.")
    notes += [
        f"{number} images left out, being in no category that is prepared: {what}."
        for what, number in sorted(left_out.items())
    ]
    findings: dict[str, dict[str, int]] = {}
    if labels == "finding":
        for (kinds_of_image, category), number in combinations.most_common():
            findings[kinds_of_image] = {f"images annotated as {category}": number}
        several = sum(number for (what, _), number in combinations.items() if "+" in what)
        if several:
            notes.append(
                f"{several} images with several kinds of finding: the first of them in data.categories "
                "counts, for all of their regions."
            )
    normals = _select_normals(files, sheet, regions, problems) if with_normals else []
    unlisted = sorted(name for name in files if name not in sheet)
    problems += [
        f"{files[name].name}: no usable row in the sheet; left out."
        for name in unlisted
        if name not in regions
    ]
    counts = {
        "images in the download": len(files),
        "images in the sheet": len(sheet),
        "images with regions": len(regions),
        "regions": sum(map(len, regions.values())),
        "patients with benign or malignant regions": len(patients),
    }
    if with_normals:
        counts["normal images in the sheet"] = sum(row.classification == "normal" for row in sheet.values())
        counts["normal images selected"] = len(normals)
    return Selection(images + normals, counts, classes, findings, problems, notes)


def _select_normals(
    files: Mapping[ImageName, Path],
    sheet: Mapping[ImageName, SheetRow],
    regions: Mapping[ImageName, Sequence[ViaRegion]],
    problems: list[str],
) -> list[SelectedImage]:
    """Choose the images that the sheet calls normal; those with regions contradict it and are left out."""
    normals = []
    for name in sorted(name for name, row in sheet.items() if row.classification == "normal"):
        if name in regions:
            continue
        if name not in files:
            problems.append(f"{name.stem}.jpg: normal, but no such file in the download; left out.")
            continue
        normals.append(_selected(name, sheet[name], files[name], None, ()))
    return normals


def _selected(
    name: ImageName, row: SheetRow, path: Path, category: str | None, regions: Sequence[ViaRegion]
) -> SelectedImage:
    attributes: dict[str, str | int] = {
        "laterality": name.laterality,
        "view": name.view,
        "modality": name.modality,
        "classification": row.classification,
        **row.attributes,
    }
    if category is None:
        attributes["normal"] = 1
    return SelectedImage(name, row.row - 1, path, category, tuple(regions), attributes)


def _kinds(row: SheetRow, labels: Labels) -> tuple[str, ...]:
    """Give what an image is: its pathology, or each kind of finding in it."""
    return (row.classification,) if labels == "pathology" else kinds_of_finding(row.attributes["findings"])


def usable_regions(regions: Sequence[ViaRegion]) -> tuple[list[ViaRegion], list[str]]:
    """Leave out the regions of an image that repeat another one exactly or bear no area.

    Args:
        regions: The image's regions.

    Returns:
        The others, and a sentence for each that is left out.
    """
    usable: dict[Shape, ViaRegion] = {}
    reasons = []
    for region in regions:
        same = usable.get(region.shape)
        if not bears_area(region.shape):
            reasons.append(
                f"the {type(region.shape).__name__.lower()} in row {region.row} bears no area; left out."
            )
        elif same is not None:
            reasons.append(f"the region in row {region.row} repeats row {same.row} exactly; left out.")
        else:
            usable[region.shape] = region
    return list(usable.values()), reasons


def _number(regions: Sequence[ViaRegion]) -> str:
    return "1 region" if len(regions) == 1 else f"{len(regions)} regions"
