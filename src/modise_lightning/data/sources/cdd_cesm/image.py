"""Converts one image of CDD-CESM with its regions; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modise_lightning.data.images.reading import MAXIMUM_PIXELS, ORIENTATION, upright
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.painted_image import PaintedOutline, Told, write_painted_image
from modise_lightning.data.preparation.region_painting import paint_regions, why_too_many
from modise_lightning.data.preparation.via import ViaRegion
from modise_lightning.data.preparation.via_shapes import CroppedMask, bounds, rasterize
from modise_lightning.data.sources.cdd_cesm.pairs import Outlines, unite
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
        outlines: Whose outline a lesion of a pair has that both of its images outline.
        minimum_pair_iou: Least intersection over union of two outlines of one lesion of a pair.
    """

    root: Path
    image: SelectedImage
    label: int | None
    minimum_visible_fraction: float
    outlines: Outlines = "union"
    minimum_pair_iou: float = 1.0

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
        partner = self.image.partner
        settings: dict[str, object] = {
            "version": CONVERTER_VERSION,
            "image_id": self.image.image_id,
            "label": self.label,
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "attributes": self.image.attributes,
            "regions": _described(self.image.regions),
        }
        if partner is not None:
            settings["pair"] = [self.outlines, self.minimum_pair_iou, _described(partner.regions)]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(check_regular(self.image.path).read_bytes())
        if partner is not None:
            digest.update(check_regular(partner.path).read_bytes())
        return digest.hexdigest()


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image, paint its regions, and write both.

    Args:
        task: The image and where to write it.

    Returns:
        The written image, or a sentence that says why it was left out.
    """
    image = task.image
    path = image.path
    try:
        pixels = read_jpeg(path)
        if image.partner is not None:
            path = image.partner.path
            pixels = _beside(pixels, read_jpeg(path))
        key = task.key()
    except _DifferentSizesError as error:
        return f"{image.name.stem}: {error}; left out."
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path.name}: broken or truncated image ({error}); left out. Download it again."
    outlined = _outlined(task, *pixels.shape[:2])
    if isinstance(outlined, str):
        return outlined
    rows, masks, problems = outlined
    height, width = pixels.shape[:2]
    painting = paint_regions(masks, height, width, task.minimum_visible_fraction)
    if not painting.kept and task.label is not None:
        return f"{image.path.name}: left out, since none of its regions can be used. {' '.join(problems)}"
    outlines = [
        PaintedOutline(
            row, task.label or 0, f"{image.name.stem}: the region in row {row} is left out: smaller ones"
        )
        for row in rows
    ]
    record = ImageRecord(image.image_id, task.file_name, image.name.patient_id, height, width)
    told = Told(problems)
    return write_painted_image(task.root, key, record, pixels, painting, outlines, image.attributes, told)


def _outlined(
    task: ImageTask, height: int, width: int
) -> tuple[list[int], list[CroppedMask], list[str]] | str:
    """Give the row and the mask of each usable region, and why others are none; or why there is no image."""
    image = task.image
    parts = [image.regions, () if image.partner is None else image.partner.regions]
    box_pixels, problems = 0, list[str]()
    rows: list[list[int]] = [[], []]
    masks: list[list[CroppedMask]] = [[], []]
    for part, regions in enumerate(parts):
        for region in regions:
            refused = why_too_many(sum(map(len, parts)), box_pixels, height, width)
            if refused is not None:
                return f"{image.path.name}: left out: {refused}."
            mask = rasterize(region.shape, height, width)
            problem = _misplaced(region, height, width) or (None if mask.area else "encloses no pixel")
            if problem is None:
                rows[part].append(region.row)
                masks[part].append(mask)
                box_pixels += mask.mask.size
            else:
                problems.append(f"{image.name.stem}: the region in row {region.row} {problem}; left out.")
    united = unite(masks[0], masks[1], task.outlines, task.minimum_pair_iou)
    # A lesion that both outline is told by its row of the low-energy image.
    told = [rows[0][one] if one is not None else rows[1][other or 0] for one, other, _ in united]
    return told, [mask for _, _, mask in united], problems


class _DifferentSizesError(Exception):
    """Two images of one view that cannot lie on each other."""


def _beside(low_energy: NDArray[Any], subtracted: NDArray[Any]) -> NDArray[Any]:
    """Give (H, W, 2).

    Raises:
        _DifferentSizesError: They are not of one size.
    """
    if low_energy.shape != subtracted.shape:
        sizes = " and ".join(f"{height} x {width}" for height, width in (low_energy.shape, subtracted.shape))
        raise _DifferentSizesError(f"its low-energy and subtracted images are {sizes} pixels, of no one size")
    return np.stack([low_energy, subtracted], axis=-1)


def _described(regions: Sequence[ViaRegion]) -> list[dict[str, object]]:
    return [asdict(region) | {"kind": type(region.shape).__name__} for region in regions]


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
