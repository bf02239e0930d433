"""Decides from CBIS-DDSM's tables which images are prepared, with which masks, and why others are not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modise_lightning.data.preparation.download import only_file
from modise_lightning.data.sources.cbis_ddsm.tables import TABLES, Abnormality, Mammogram
from modise_lightning.errors import UserError

# What the release's tables hold; a download with other numbers is noted.
PUBLISHED_IMAGES = 3_103
PUBLISHED_ABNORMALITIES = 3_568

Labels = Literal["pathology", "finding", "birads"]
# What an abnormality can be called; a configuration may leave some out.
NAMES: dict[Labels, tuple[str, ...]] = {
    "pathology": ("benign", "malignant"),
    "finding": ("mass", "calcification"),
    "birads": tuple(f"BI-RADS {category}" for category in range(6)),
}
Split = Literal["training", "test", "neither"]


@dataclass(frozen=True)
class LabelledAbnormality:
    """An abnormality to prepare.

    Attributes:
        abnormality: Its row.
        label: Index of its category.
        paths: The files of its series; one of them is its mask.
    """

    abnormality: Abnormality
    label: int
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class SelectedImage:
    """An image to prepare.

    Attributes:
        image: What the table says of it.
        path: Its file.
        abnormalities: Those whose masks are there, at least one.
        split: The official one; ``neither`` for a training image of a patient who is tested too.
    """

    image: Mammogram
    path: Path
    abnormalities: tuple[LabelledAbnormality, ...]
    split: Split


@dataclass(frozen=True)
class Selection:
    """Which images are prepared.

    Attributes:
        images: In the order of the tables.
        counts: How many of what was found and is selected.
        classes: Abnormalities and images of each category, as annotated and as selected.
        tables: Abnormalities, images and patients of each table, as written and as selected.
        problems: What contradicts itself or is missing.
        notes: What is left out by design.
    """

    images: list[SelectedImage]
    counts: dict[str, int]
    classes: dict[str, dict[str, int]]
    tables: dict[str, dict[str, int]]
    problems: list[str]
    notes: list[str]


def select_images(
    raw: Path,
    series: Mapping[str, Sequence[Path]],
    mammograms: Sequence[Mammogram],
    rows: Mapping[str, int],
    labels: Labels,
    category_names: Sequence[str],
) -> Selection:
    """Join the tables with the files.

    Args:
        raw: The download's folder, for messages.
        series: Files of each series UID.
        mammograms: What the tables say.
        rows: Abnormalities in each table, unusable ones included.
        labels: What an abnormality's category is.
        category_names: Categories that are prepared.

    Returns:
        What to prepare; nothing is read from the image files.
    """
    columns = ("abnormalities annotated", "images annotated", "abnormalities selected", "images selected")
    classes = {name: dict.fromkeys(columns, 0) for name in category_names}
    selected: list[SelectedImage] = []
    problems: list[str] = []
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    tested = {image.patient for image in mammograms if image.split == "test"}
    for image in mammograms:
        names = {each.number: _name(each, labels) for each in image.abnormalities}
        wanted = [each for each in image.abnormalities if names[each.number] in classes]
        for each in image.abnormalities:
            if each not in wanted:
                left_out[names[each.number]].append(f"{image.name}, abnormality {each.number}")
        _count(classes, [names[each.number] for each in wanted], "annotated")
        if not wanted:
            continue
        path = _only(raw, series.get(image.series, ()), image, problems)
        if path is None:
            continue
        usable = []
        for each in wanted:
            paths = tuple(path for uid in each.series for path in series.get(uid, ()))
            if paths:
                label = category_names.index(names[each.number])
                usable.append(LabelledAbnormality(each, label, paths))
            else:
                problems.append(
                    f"{image.name}, abnormality {each.number} ({each.where}): no file of its mask's series "
                    f"{' or '.join(each.series)} in the download; left out."
                )
        _count(classes, [names[each.abnormality.number] for each in usable], "selected")
        split: Split = "neither" if image.split == "training" and image.patient in tested else image.split
        if usable:
            selected.append(SelectedImage(image, path, tuple(usable), split))
    notes = [
        f"{len(where)} abnormalities left out, being in no category that is prepared ({name}): "
        f"{'; '.join(where)}."
        for name, where in sorted(left_out.items())
    ]
    notes += [*_views_of_two_series(mammograms), *_patients_of_both_parts(mammograms)]
    counts = {
        "abnormalities in the tables": sum(rows.values()),
        "images in the tables": len(mammograms),
        "views in the tables": len({(image.patient, image.laterality, image.view) for image in mammograms}),
        "patients in the tables": len({image.patient for image in mammograms}),
        "series in the download": len(series),
        "images selected": len(selected),
        "abnormalities selected": sum(len(image.abnormalities) for image in selected),
        "patients selected": len({image.image.patient for image in selected}),
    }
    return Selection(selected, counts, classes, _of_tables(mammograms, rows, selected), problems, notes)


def _name(abnormality: Abnormality, labels: Labels) -> str:
    """Give the category of an abnormality."""
    match labels:
        case "pathology":
            return abnormality.pathology
        case "finding":
            return abnormality.kind
        case "birads":
            return f"BI-RADS {abnormality.assessment}"


def _only(raw: Path, paths: Sequence[Path], image: Mammogram, problems: list[str]) -> Path | None:
    """Give the file of an image; add to the problems if there is none or if there are several."""
    number = f"{len(image.abnormalities)} abnormalit{'y' if len(image.abnormalities) == 1 else 'ies'}"
    rows = f"{image.abnormalities[0].table}, row{'' if len(image.abnormalities) == 1 else 's'} " + ", ".join(
        str(each.row) for each in image.abnormalities
    )
    try:
        path = only_file(raw, list(paths), image.name)
    except UserError as error:
        problems.append(f"{image.name}: left out with {number} ({rows}): {error}")
        return None
    if path is None:
        problems.append(
            f"{image.name}: {number} ({rows}), but no file of its series {image.series} in the download; "
            "left out."
        )
    return path


def _count(classes: dict[str, dict[str, int]], names: Sequence[str], what: str) -> None:
    for name in names:
        classes[name][f"abnormalities {what}"] += 1
    for name in set(names):
        classes[name][f"images {what}"] += 1


def _views_of_two_series(mammograms: Sequence[Mammogram]) -> list[str]:
    views: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for image in mammograms:
        views[image.patient, image.laterality, image.view].append(image.name)
    return [
        f"{' and '.join(names)} are one view: each is prepared with its own abnormalities and does not show "
        "those of the other."
        for names in views.values()
        if len(names) > 1
    ]


def _patients_of_both_parts(mammograms: Sequence[Mammogram]) -> list[str]:
    parts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for image in mammograms:
        parts[image.patient][image.split] += 1
    return [
        f"{patient} is in both parts of the official split: with data.split=official its {parts['test']} "
        f"test images are tested and its {parts['training']} training images left out."
        for patient, parts in sorted(parts.items())
        if len(parts) > 1
    ]


def _of_tables(
    mammograms: Sequence[Mammogram], rows: Mapping[str, int], selected: Sequence[SelectedImage]
) -> dict[str, dict[str, int]]:
    """Count what each table holds."""
    counted: dict[str, dict[str, int]] = {}
    for name, number in rows.items():
        kind, split = TABLES[name]
        images = [image for image in mammograms if image.abnormalities[0].table == name]
        chosen = [image for image in selected if image.image.abnormalities[0].table == name]
        counted[f"{kind}, {split}"] = {
            "abnormalities": number,
            "images": len(images),
            "patients": len({image.patient for image in images}),
            "abnormalities selected": sum(len(image.abnormalities) for image in chosen),
            "images selected": len(chosen),
        }
    return counted
