"""Converts one image of CDD-CESM with its regions; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modise_lightning.data.images.reading import MAXIMUM_PIXELS, ORIENTATION, upright
from modise_lightning.data.preparation.journal import FinishedImage, png_sizes
from modise_lightning.data.preparation.region_painting import Painting, paint_regions, why_too_many
from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import bounds, rasterize
from modise_lightning.data.prepared.writing import write_entry
from modise_lightning.data.sources.cdd_cesm.selection import SelectedImage
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import ImageRecord

# Raise it whenever the conversion's output changes, so that images of an older one are made anew.
CONVERTER_VERSION = 2


@dataclass(frozen=True)
class ImageTask:
    """What a worker needs to convert an image.

    Attributes:
        root: Folder of the prepared dataset.
        image: The image and its regions.
        label: Class index of its regions; None for a normal image, which has none.
        minimum_visible_fraction: Smallest part of a region's area in [0, 1] that must stay visible.
    """

    root: Path
    image: SelectedImage
    label: int | None
    minimum_visible_fraction: float

    @property
    def source(self) -> Path:
        """The image in the download."""
        return self.image.path

    @property
    def file_name(self) -> str:
        """Name of the PNGs."""
        return f"{self.image.name.stem}.png"

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of the image included.

        Raises:
            OSError: The image cannot be read.
        """
        settings = {
            "version": CONVERTER_VERSION,
            "image_id": self.image.image_id,
            "label": self.label,
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "attributes": self.image.attributes,
            "regions": [
                asdict(region) | {"kind": type(region.shape).__name__} for region in self.image.regions
            ],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(check_regular(self.image.path).read_bytes())
        return digest.hexdigest()


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image, paint its regions, and write both.

    Args:
        task: The image and where to write it.

    Returns:
        The written image, or a sentence that says why it was left out.
    """
    image = task.image
    try:
        pixels = read_jpeg(image.path)
        key = task.key()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{image.path.name}: broken or truncated image ({error}); left out. Download it again."
    height, width = pixels.shape
    problems: list[str] = []
    regions, masks, box_pixels = [], [], 0
    for region in image.regions:
        refused = why_too_many(len(image.regions), box_pixels, height, width)
        if refused is not None:
            return f"{image.path.name}: left out: {refused}."
        mask = rasterize(region.shape, height, width)
        problem = _misplaced(region, height, width) or (None if mask.area else "encloses no pixel")
        if problem is None:
            regions.append(region)
            masks.append(mask)
            box_pixels += mask.mask.size
        else:
            problems.append(f"{image.name.stem}: the region in row {region.row} {problem}; left out.")
    painting = paint_regions(masks, height, width, task.minimum_visible_fraction)
    if not painting.kept and task.label is not None:
        return f"{image.path.name}: left out, since none of its regions can be used. {' '.join(problems)}"
    notes = [
        f"{image.name.stem}: the region in row {regions[index].row} is left out: smaller ones cover all but "
        f"{painting.visible[index]} of its {painting.areas[index]} pixels."
        for index in painting.dropped
    ]
    record = ImageRecord(image.image_id, task.file_name, image.name.patient_id, height, width)
    labels = [] if task.label is None else [task.label] * len(painting.kept)
    entry = write_entry(task.root, record, pixels, painting.segment_ids, labels, image.attributes)
    return FinishedImage(
        key, entry, png_sizes(task.root, task.file_name), _hidden(painting, regions), problems, notes
    )


def read_jpeg(path: Path) -> NDArray[Any]:
    """Read a JPEG as (H, W) uint8; colours as luminance, turned as its EXIF orientation says.

    Outlines are drawn on what a browser shows, which is turned too.

    Raises:
        OSError: The file is missing, no JPEG, or truncated.
        ValueError: It is too large.
    """
    with Image.open(path, formats=("JPEG",)) as image:
        if image.width * image.height > MAXIMUM_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAXIMUM_PIXELS}")
        pixels = np.asarray(image.convert("L"))
        return np.ascontiguousarray(upright(pixels, image.getexif().get(ORIENTATION, 1)))


def _misplaced(region: ViaRegion, height: int, width: int) -> str | None:
    """Tell when most of a region's bounding box is outside: it was then drawn on an image of another size."""
    left, top, right, bottom = bounds(region.shape)
    inside_width = min(right, width) - max(left, 0)
    inside_height = min(bottom, height) - max(top, 0)
    if min(inside_width, inside_height) > 0:
        # Not the quotient of the areas, which may be too small for a number.
        fraction = inside_width / (right - left) * (inside_height / (bottom - top))
        if fraction >= 0.5:
            return None
    return (
        f"reaches from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f}), "
        f"mostly outside the image of {width} x {height} pixels"
    )


def _hidden(painting: Painting, regions: list[ViaRegion]) -> list[dict[str, int]]:
    return [
        {"row": regions[index].row, "pixels": painting.areas[index], "left": painting.visible[index]}
        for index in range(len(regions))
        if painting.visible[index] < painting.areas[index]
    ]
