"""Decides before anything is predicted what each image and its files are called, and how it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modise_lightning.data.images.image_file import PixelSettings
from modise_lightning.prediction.exams import ExamNames, ExamPlace, choose_whites
from modise_lightning.prediction.inputs.dicom_tags import DicomTags
from modise_lightning.prediction.inputs.finding import InputImage
from modise_lightning.prediction.inputs.inspection import InspectedImage
from modise_lightning.prediction.journal import key_of
from modise_lightning.prediction.loading import LoadingTask
from modise_lightning.reporting.export import choose_stems

# What the files of the whole folder begin with; no image's files may replace them.
FOLDER_STEMS = ("predictions", "exams", "coco", "contact_sheet", "failures")


@dataclass(frozen=True)
class PlannedImage:
    """An image that is to be predicted, with everything that is known of it.

    Attributes:
        task: How it is loaded, under its number and name.
        folder: Where its files go, below the folder of the results.
        stem: What their names begin with.
        place: Exam, breast and view.
        tags: Of DICOM; None for a picture.
        key: Hash of its content, the model, the settings and its name.
    """

    task: LoadingTask
    folder: str
    stem: str
    place: ExamPlace
    tags: DicomTags | None
    key: str

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Height and width of a pixel in millimetres, where they are known."""
        return None if self.tags is None else self.tags.spacing_mm


def plan_images(
    inspected: Sequence[InspectedImage],
    *,
    names: ExamNames,
    white: int | str,
    for_processing: Literal["refuse", "convert"],
    frame: int | None,
    keeps_identifiers: bool,
    settings: Mapping[str, Any],
) -> tuple[list[PlannedImage], list[str]]:
    """Plan the prediction of images.

    Args:
        inspected: In their order.
        names: Exam, breast and view.
        white: A number, or ``auto``.
        for_processing: What is done with raw detector values.
        frame: Which of several frames is read; None refuses such files.
        keeps_identifiers: Whether results may be called what identifies a patient.
        settings: Plain values that the results depend on, for the keys.

    Returns:
        A plan for each image, and what is to be told of exams and of the white that was chosen.
    """
    places = [names.place(each) for each in inspected]
    whites, notes = choose_whites(
        [place.exam for place in places], [each.undeclared for each in inspected], white
    )
    parts = _choose_parts(inspected, keeps_identifiers)
    stems = _choose_stems(parts)
    planned = []
    for number, (each, place, own_white) in enumerate(zip(inspected, places, whites, strict=True)):
        pixels = PixelSettings(own_white, for_processing, frame)
        folder, stem, label = "/".join(parts[number][:-1]), stems[number], "/".join(parts[number])
        described = [each.digest, own_white, for_processing, frame, folder, stem, label]
        key = key_of({"image": described, "exam": [place.exam, place.laterality, place.view], **settings})
        task = LoadingTask(number, each.image, label, pixels)
        planned.append(PlannedImage(task, folder, stem, place, each.tags, key))
    return planned, names.doubts(inspected, places) + notes


def _choose_parts(inspected: Sequence[InspectedImage], keeps_identifiers: bool) -> list[tuple[str, ...]]:
    """Choose folders and a name for each image, all different."""
    parts = [each.image.parts for each in inspected]
    number = Counter(map(_folded, parts))
    # Of two inputs with files of the same names the whole paths tell them apart.
    parts = [
        own if number[_folded(own)] == 1 else _whole(each.image)
        for own, each in zip(parts, inspected, strict=True)
    ]
    if keeps_identifiers:
        return parts
    taken: Counter[str] = Counter()
    chosen = []
    for own, each in zip(parts, inspected, strict=True):
        if each.tags is not None and each.tags.identifies("/".join(own)):
            name = f"image-{each.digest[:12]}"
            taken[name] += 1
            own = (f"{name}.dcm" if taken[name] == 1 else f"{name}_{taken[name]}.dcm",)
        chosen.append(own)
    return chosen


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _whole(image: InputImage) -> tuple[str, ...]:
    path = image.path if image.member is None else Path(image.path, image.member)
    return tuple(part for part in path.absolute().parts[1:] if part not in ("", ".", ".."))


def _choose_stems(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Choose what each image's files begin with, so that in no folder one replaces another."""
    of_folder: dict[tuple[str, ...], list[str]] = {}
    for own in parts:
        of_folder.setdefault(_folded(own[:-1]), []).append(own[-1])
    stems = {
        folder: choose_stems(names, reserved=FOLDER_STEMS if not folder else ())
        for folder, names in of_folder.items()
    }
    return [stems[_folded(own[:-1])][own[-1]] for own in parts]
