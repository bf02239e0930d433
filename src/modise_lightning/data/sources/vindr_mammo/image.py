"""Converts one image of VinDr-Mammo with its boxes; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from modise_lightning.data.images.pixel_spacing import SPACING_TAGS
from modise_lightning.data.preparation.box_to_mask import Box, BoxToMask
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.painted_image import PaintedOutline, Told, write_painted_image
from modise_lightning.data.preparation.region_painting import paint_regions, why_too_many
from modise_lightning.data.preparation.source_image import read_source_image
from modise_lightning.data.sources.vindr_mammo.selection import SelectedImage
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import ImageRecord

# Raise it whenever the conversion's output changes, so that images of an older one are made anew.
CONVERTER_VERSION = 2
_SMALLEST_FRACTION_INSIDE = 0.5
_TAKEN_WHOLE = {"flat": "nothing in it is brighter than the rest", "small": "it is small for the blur"}


@dataclass(frozen=True)
class ImageTask:
    """What a worker needs to convert an image.

    Attributes:
        root: Folder of the prepared dataset.
        image: The image and its boxes.
        box_to_mask: Segments a box.
        minimum_visible_fraction: Smallest part of a segment's area in [0, 1] that must stay visible.
    """

    root: Path
    image: SelectedImage
    box_to_mask: BoxToMask
    minimum_visible_fraction: float

    @property
    def source(self) -> Path:
        """The image in the download."""
        return self.image.path

    @property
    def file_name(self) -> str:
        """Name of the PNGs."""
        return f"{self.image.image.image_id}.png"

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of the image included.

        Raises:
            OSError: The image cannot be read.
        """
        image = self.image.image
        settings = {
            "version": CONVERTER_VERSION,
            "image": [image.row, image.study_id, image.size, image.attributes],
            **({} if self.image.boxes else {"normal": True}),
            "boxes": [asdict(box) for box in self.image.boxes],
            "box_to_mask": asdict(self.box_to_mask),
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "header": list(SPACING_TAGS),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(check_regular(self.source).read_bytes())
        return digest.hexdigest()


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image, segment its boxes, and write both.

    Args:
        task: The image and where to write it.

    Returns:
        The written image, or a sentence that says why it was left out.
    """
    image = task.image.image
    name = task.source.name
    try:
        key = task.key()
    except OSError as error:
        return f"{name}: left out: {error} Download it again."
    source = read_source_image(task.source)
    if isinstance(source, str):
        return f"{name}: left out: {source} Download it again."
    shown = source.shown
    if shown.shape != image.size:
        height, width = shown.shape
        return (
            f"{name}: left out: it is {height} x {width} pixels, but {image.size[0]} x {image.size[1]} in "
            f"the table of findings (row {image.row}), so that its boxes cannot be trusted."
        )
    box_pixels = sum(
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in (labelled.box.window(*image.size) for labelled in task.image.boxes)
    )
    refused = why_too_many(len(task.image.boxes), box_pixels, *image.size)
    if refused is not None:
        return f"{name}: left out: {refused}."
    problems: list[str] = []
    counts: Counter[str] = Counter()
    boxes, masks = [], []
    for labelled in task.image.boxes:
        fraction = labelled.box.fraction_inside(*image.size)
        where = f"{image.image_id}: the box in row {labelled.row} {_extent(labelled.box)}"
        if fraction < _SMALLEST_FRACTION_INSIDE:
            problems.append(
                f"{where} is mostly outside the image of {image.size[1]} x {image.size[0]} pixels; left out."
            )
            continue
        found = task.box_to_mask(shown, labelled.box)
        if found.outcome in _TAKEN_WHOLE:
            problems.append(f"{where} is taken whole: {_TAKEN_WHOLE[found.outcome]}.")
        counts["boxes clipped at the image's border"] += fraction < 1
        counts[f"boxes {found.outcome}" if found.outcome in _TAKEN_WHOLE else "boxes segmented"] += 1
        boxes.append(labelled)
        masks.append(found.mask)
    if not boxes and task.image.boxes:
        return f"{name}: left out, since none of its boxes can be used. {' '.join(problems)}"
    painting = paint_regions(masks, *image.size, task.minimum_visible_fraction)
    notes = [f"{name}: {text}" for text in source.warnings]
    outlines = [
        PaintedOutline(
            box.row, box.label, f"{image.image_id}: the segment of row {box.row} is left out: smaller ones"
        )
        for box in boxes
    ]
    # The table's rows below its header are the numbers.
    record = ImageRecord(image.row - 1, task.file_name, image.study_id, *image.size)
    attributes: dict[str, str | int | float] = {**image.attributes, **source.spacing}
    if not task.image.boxes:
        attributes["normal"] = 1
    told = Told(problems, notes, counts)
    return write_painted_image(
        task.root, key, record, source.to_integers(), painting, outlines, attributes, told
    )


def _extent(box: Box) -> str:
    return f"(from ({box.left:.0f}, {box.top:.0f}) to ({box.right:.0f}, {box.bottom:.0f}))"
