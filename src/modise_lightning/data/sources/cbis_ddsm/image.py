"""Converts one image of CBIS-DDSM with its masks; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.images.film import film_window
from modise_lightning.data.images.pixel_spacing import SPACING_TAGS
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.painted_image import PaintedOutline, Told, write_painted_image
from modise_lightning.data.preparation.region_painting import paint_regions, why_too_many
from modise_lightning.data.preparation.source_image import SourceImage, read_source_image
from modise_lightning.data.sources.cbis_ddsm.masks import FittedMask, read_mask
from modise_lightning.data.sources.cbis_ddsm.selection import LabelledAbnormality, SelectedImage
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import ImageRecord

# Raise it whenever the conversion's output changes, so that images of an older one are made anew.
CONVERTER_VERSION = 2


@dataclass(frozen=True)
class ImageTask:
    """What a worker needs to convert an image.

    Attributes:
        root: Folder of the prepared dataset.
        image: The image and its abnormalities.
        minimum_visible_fraction: Smallest part of a segment's area in [0, 1] that must stay visible.
    """

    root: Path
    image: SelectedImage
    minimum_visible_fraction: float

    @property
    def file_name(self) -> str:
        """Name of the PNGs."""
        return f"{self.image.image.name}.png"

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of the image and of its masks included.

        Raises:
            OSError: A file cannot be read.
        """
        image = self.image.image
        settings = {
            "version": CONVERTER_VERSION,
            "image": [image.number, image.patient, attributes_of(self.image)],
            "abnormalities": [
                [each.abnormality.row, each.abnormality.number, each.label, len(each.paths)]
                for each in self.image.abnormalities
            ],
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "header": list(SPACING_TAGS),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        masks = [path for each in self.image.abnormalities for path in each.paths]
        for path in (self.image.path, *masks):
            with check_regular(path).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def attributes_of(selected: SelectedImage) -> dict[str, str]:
    """Give what goes into the index beside an image."""
    image = selected.image
    abnormalities = [each.abnormality for each in selected.abnormalities]
    attributes = {
        "laterality": image.laterality,
        "view": image.view,
        "finding": abnormalities[0].kind,
        "pathology": ", ".join(sorted({each.pathology for each in abnormalities})),
        "birads": ", ".join(sorted({str(each.assessment) for each in abnormalities})),
        "split": selected.split,
    }
    return attributes | ({"density": image.density} if image.density else {})


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image and its masks, and write both.

    Args:
        task: The image and where to write it.

    Returns:
        The written image, or a sentence that says why it was left out.
    """
    selected, name = task.image, task.image.image.name
    try:
        key = task.key()
    except OSError as error:
        return f"{name}: left out: {error} Download it again."
    film = _Film()
    source = read_source_image(selected.path, film.window)
    if isinstance(source, str):
        return f"{name}: left out: {source} Download it again."
    notes = [f"{name}: {text}" for text in source.warnings]
    notes += film.notes(name)
    labelled, masks, problems = _read_masks(selected, *source.shown.shape)
    if not masks:
        return f"{name}: left out, since none of its masks can be used. {' '.join(problems)}"
    counts: Counter[str] = Counter()
    for each, mask in zip(labelled, masks, strict=True):
        if mask.size is not None:
            counts["masks resized to their mammogram"] += 1
            notes.append(
                f"{_where(selected, each)}: its mask of {mask.size[0]} x {mask.size[1]} pixels is resized to "
                f"the mammogram's {source.shown.shape[0]} x {source.shown.shape[1]}."
            )
    return _write(task, source, key, labelled, masks, Told(problems, notes, counts))


def _read_masks(
    selected: SelectedImage, height: int, width: int
) -> tuple[list[LabelledAbnormality], list[FittedMask], list[str]]:
    """Read the masks that can be used; say why others cannot."""
    labelled, masks, problems = [], [], []
    for each in selected.abnormalities:
        try:
            masks.append(read_mask(each.paths, height, width))
            labelled.append(each)
        except (ValueError, OSError, UserError) as error:
            problems.append(f"{_where(selected, each)}: {str(error).removesuffix('.')}; left out.")
    return labelled, masks, problems


def _write(
    task: ImageTask,
    source: SourceImage,
    key: str,
    labelled: list[LabelledAbnormality],
    masks: list[FittedMask],
    told: Told,
) -> FinishedImage | str:
    """Paint the masks and write both PNGs."""
    image, (height, width) = task.image.image, source.shown.shape
    box_pixels = sum(mask.mask.mask.size for mask in masks)
    refused = why_too_many(len(masks), box_pixels, height, width)
    if refused is not None:
        return f"{image.name}: left out: {refused}."
    painting = paint_regions([mask.mask for mask in masks], height, width, task.minimum_visible_fraction)
    outlines = [
        PaintedOutline(
            each.abnormality.row, each.label, f"{_where(task.image, each)}: left out: smaller masks"
        )
        for each in labelled
    ]
    record = ImageRecord(image.number, task.file_name, image.patient, height, width)
    attributes: dict[str, str | int | float] = {**attributes_of(task.image), **source.spacing}
    return write_painted_image(
        task.root, key, record, source.to_integers(), painting, outlines, attributes, told
    )


class _Film:
    """Takes the contrast from the breast, and remembers if there was none."""

    def __init__(self) -> None:
        self._asked = False
        self._found = False

    def window(self, values: NDArray[Any]) -> tuple[float, float] | None:
        found = film_window(np.asarray(values))
        self._asked, self._found = True, found is not None
        return found

    def notes(self, name: str) -> list[str]:
        if self._found or not self._asked:
            return []
        return [f"{name}: no breast was found to take the contrast from; all of the film decided it."]


def _where(selected: SelectedImage, each: LabelledAbnormality) -> str:
    return f"{selected.image.name}, abnormality {each.abnormality.number} ({each.abnormality.where})"
