"""Draws the contact sheet of a folder's predictions, from the images and the files that were written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from modise_lightning.data.images.reading import read_image_file
from modise_lightning.json_text import parse_json
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.planning import PlannedImage
from modise_lightning.prediction.tables.rows import Finished
from modise_lightning.reporting.files import write_png_atomically
from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage, draw_contact_sheet
from modise_lightning.structures import Category, PanopticSegmentation


def write_contact_sheet(
    folder: Path,
    images: Sequence[Finished],
    categories: Sequence[Category],
    note: str | None,
    *,
    most: int,
    limits: ArchiveLimits,
) -> None:
    """Write ``contact_sheet.png`` with at most ``most`` images; of more, those with the highest scores.

    Args:
        folder: Of the results.
        images: That are predicted.
        categories: Names and colours of the classes.
        note: A line at the bottom.
        most: Number of images; 0 for no sheet.
        limits: Of archives.
    """
    if not images or most < 1:
        return

    def highest(index: int) -> float:
        return max((lesion["score"] for lesion in images[index][1].lesions), default=0.0)

    chosen = sorted(sorted(range(len(images)), key=lambda index: -highest(index))[:most])
    shown = _read([images[index][0] for index in chosen], folder, categories, limits)
    sheet = draw_contact_sheet(shown, categories, note_of_choice(len(chosen), len(images), note))
    write_png_atomically(folder / "contact_sheet.png", sheet)


def note_of_choice(number: int, of_all: int, note: str | None) -> str | None:
    """Say on the sheet itself which images it shows.

    Args:
        number: Images on the sheet.
        of_all: Images that were predicted.
        note: What else stands there.
    """
    if number == of_all:
        return note
    choice = f"{number:,} of {of_all:,} images, those with the highest scores."
    return choice if note is None else f"{choice} {note}"


def _read(
    images: Sequence[PlannedImage], folder: Path, categories: Sequence[Category], limits: ArchiveLimits
) -> Iterator[ContactSheetImage]:
    numbers = {category.name: index for index, category in enumerate(categories)}
    for planned in images:
        own = folder / planned.folder
        content = parse_json((own / f"{planned.stem}.json").read_bytes())
        data = np.frombuffer((own / f"{planned.stem}_panoptic.png").read_bytes(), np.uint8)
        colours = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.int64)
        ids = colours[..., 2] + 256 * colours[..., 1] + 65536 * colours[..., 0]
        # Segments without a pixel are not in the JSON; no pixel has their ids.
        labels = [0] * max((segment["id"] for segment in content["segments"]), default=0)
        for segment in content["segments"]:
            labels[segment["id"] - 1] = numbers[segment["category"]]
        image = read_image_file(planned.task.image.file(limits), planned.task.pixels)
        segmentation = PanopticSegmentation(torch.from_numpy(ids), torch.tensor(labels, dtype=torch.int64))
        yield ContactSheetImage(planned.task.label, image, segmentation)
