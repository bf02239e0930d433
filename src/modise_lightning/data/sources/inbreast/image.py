"""Converts one image of INbreast with its outlines; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from modise_lightning.data.images.pixel_spacing import SPACING_TAGS
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.painted_image import PaintedOutline, Told, write_painted_image
from modise_lightning.data.preparation.region_painting import paint_regions, why_too_many
from modise_lightning.data.preparation.source_image import read_source_image
from modise_lightning.data.preparation.via_shapes import CroppedMask, bounds, rasterize
from modise_lightning.data.sources.inbreast.selection import LabelledRegion, SelectedImage
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import ImageRecord

# Raise it whenever the conversion's output changes, so that images of an older one are made anew.
CONVERTER_VERSION = 1


@dataclass(frozen=True)
class ImageTask:
    """What a worker needs to convert an image.

    Attributes:
        root: Folder of the prepared dataset.
        image: The image and its outlines.
        minimum_visible_fraction: Smallest part of a segment's area in [0, 1] that must stay visible.
    """

    root: Path
    image: SelectedImage
    minimum_visible_fraction: float

    @property
    def file_name(self) -> str:
        """Name of the PNGs."""
        return f"{self.image.image.number}.png"

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of the image included.

        Raises:
            OSError: The image cannot be read.
        """
        settings = {
            "version": CONVERTER_VERSION,
            "image": asdict(self.image.image),
            "regions": [
                asdict(region) | {"kind": type(region.shape).__name__} for region in self.image.regions
            ],
            **({} if self.image.regions else {"normal": True}),
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "header": list(SPACING_TAGS),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(check_regular(self.image.path).read_bytes())
        return digest.hexdigest()


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image, fill its outlines, and write both.

    Args:
        task: The image and where to write it.

    Returns:
        The written image, or a sentence that says why it was left out.
    """
    image, name = task.image.image, task.image.path.name
    try:
        key = task.key()
    except OSError as error:
        return f"{name}: left out: {error} Ask for it again."
    source = read_source_image(task.image.path)
    if isinstance(source, str):
        return f"{name}: left out: {source} Ask for it again."
    height, width = source.shown.shape
    notes = [f"{name}: {text}" for text in source.warnings]
    problems: list[str] = []
    counts: Counter[str] = Counter()
    regions: list[LabelledRegion] = []
    masks: list[CroppedMask] = []
    box_pixels = 0
    for region in task.image.regions:
        refused = why_too_many(len(task.image.regions), box_pixels, height, width)
        if refused is not None:
            return f"{name}: left out: {refused}."
        mask = rasterize(region.shape, height, width)
        if _is_misplaced(region, height, width):
            problems.append(
                f"{image.number}: region {region.number} is mostly outside the image of {width} x {height} "
                "pixels; left out."
            )
        elif not mask.area:
            # A calcification can be smaller than a pixel.
            counts["outlines around no pixel's centre left out"] += 1
        else:
            regions.append(region)
            masks.append(mask)
            box_pixels += mask.mask.size
    if not regions and task.image.regions:
        return f"{name}: left out, since none of its outlines can be used. {' '.join(problems)}".rstrip()
    painting = paint_regions(masks, height, width, task.minimum_visible_fraction)
    outlines = [
        PaintedOutline(
            region.number,
            region.label,
            f"{image.number}: region {region.number} is left out: smaller ones",
        )
        for region in regions
    ]
    record = ImageRecord(image.number, task.file_name, image.patient, height, width)
    attributes: dict[str, str | int | float] = {
        "laterality": image.laterality,
        "view": image.view,
        "birads": image.birads,
        **({"density": image.density} if image.density else {}),
        **source.spacing,
        **({} if task.image.regions else {"normal": 1}),
    }
    told = Told(problems, notes, counts)
    return write_painted_image(
        task.root, key, record, source.to_integers(), painting, outlines, attributes, told
    )


def _is_misplaced(region: LabelledRegion, height: int, width: int) -> bool:
    """Tell when the middle of a region's bounding box is outside: it was then drawn on another image."""
    left, top, right, bottom = bounds(region.shape)
    return not (0 <= (left + right) / 2 <= width and 0 <= (top + bottom) / 2 <= height)
