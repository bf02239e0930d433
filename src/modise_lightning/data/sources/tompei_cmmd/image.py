"""Converts one image of TOMPEI-CMMD with its outlines; runs in worker processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.images.pixel_spacing import SPACING_TAGS
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.painted_image import PaintedOutline, Told, write_painted_image
from modise_lightning.data.preparation.region_painting import paint_regions, why_too_many
from modise_lightning.data.preparation.source_image import SourceImage, read_source_image
from modise_lightning.data.preparation.via_shapes import CroppedMask, rasterize
from modise_lightning.data.sources.tompei_cmmd.selection import SelectedImage
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import ImageRecord

# Raise it whenever the conversion's output changes, so that images of an older one are made anew.
CONVERTER_VERSION = 1
_AIR = 0.02  # brightness of air at most, white being 1; in the release it is 0
_SMALLEST_TISSUE = 0.5  # part of the outlined pixels that must be tissue


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
        return f"{self.image.image.name}.png"

    def key(self) -> str:
        """Hash everything that the result depends on, the bytes of both breasts' images included.

        Raises:
            OSError: An image cannot be read.
        """
        selected = self.image
        settings = {
            "version": CONVERTER_VERSION,
            "image": [asdict(selected.image), selected.number, asdict(selected.breast)],
            "outlines": [asdict(outline) for outline in selected.outlines],
            "minimum_visible_fraction": self.minimum_visible_fraction,
            "header": list(SPACING_TAGS),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in (selected.path, selected.other):
            if path is not None:
                digest.update(hashlib.sha256(check_regular(path).read_bytes()).digest())
        return digest.hexdigest()


def convert_image(task: ImageTask) -> FinishedImage | str:
    """Read an image, fill its outlines, and write both.

    Outlines that lie in air belong to the image of the other breast, whose header is then wrong.

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
    notes: list[str] = []
    source = read_source_image(selected.path)
    if isinstance(source, str):
        return f"{name}: left out: {source} Download it again."
    masks = _masks(selected, source)
    if isinstance(masks, str):
        return f"{name}: left out: {masks}."
    if _tissue(source.shown, masks) < _SMALLEST_TISSUE and selected.other is not None:
        other = read_source_image(selected.other)
        if not isinstance(other, str):
            others = _masks(selected, other)
            if not isinstance(others, str) and _tissue(other.shown, others) >= _SMALLEST_TISSUE:
                source, masks = other, others
                notes.append(
                    f"{name}: its outlines are in air, and in the breast of the image that is said to be the "
                    "other side: left and right of the two are corrected."
                )
    share = _tissue(source.shown, masks)
    if share < _SMALLEST_TISSUE:
        return f"{name}: left out: only {share:.0%} of what is outlined is tissue and not air or outside."
    notes = [*(f"{name}: {text}" for text in source.warnings), *notes]
    return _write(task, source, key, masks, notes)


def _masks(selected: SelectedImage, source: SourceImage) -> list[CroppedMask] | str:
    """Fill the outlines; say why there are too many."""
    height, width = source.shown.shape
    masks: list[CroppedMask] = []
    box_pixels = 0
    for outline in selected.outlines:
        refused = why_too_many(len(selected.outlines), box_pixels, height, width)
        if refused is not None:
            return refused
        masks.append(rasterize(outline.shape, height, width))
        box_pixels += masks[-1].mask.size
    return masks


def _tissue(shown: NDArray[np.float32], masks: list[CroppedMask]) -> float:
    """Give the part of the outlined pixels that is no air; 0 if nothing in the image is outlined."""
    outlined = sum(mask.area for mask in masks)
    tissue = sum(int(np.count_nonzero(mask.mask & (shown[mask.window] > _AIR))) for mask in masks)
    return tissue / outlined if outlined else 0.0


def _write(
    task: ImageTask, source: SourceImage, key: str, masks: list[CroppedMask], notes: list[str]
) -> FinishedImage:
    """Paint the outlines and write both PNGs."""
    selected, (height, width) = task.image, source.shown.shape
    image, problems = selected.image, []
    outlines, filled = [], []
    for outline, mask in zip(selected.outlines, masks, strict=True):
        if mask.area:
            outlines.append(outline)
            filled.append(mask)
        else:
            problems.append(f"{image.name}: lesion {outline.number} encloses no pixel; left out.")
    painting = paint_regions(filled, height, width, task.minimum_visible_fraction)
    painted = [
        PaintedOutline(
            outline.number,
            outline.label,
            f"{image.name}: lesion {outline.number} is left out: smaller ones",
        )
        for outline in outlines
    ]
    record = ImageRecord(selected.number, task.file_name, image.patient, height, width)
    breast = selected.breast
    attributes: dict[str, str | int | float] = {
        "laterality": image.side,
        "view": image.view,
        "classification": breast.classification,
        **({"density": breast.density} if breast.density else {}),
        **({"birads": breast.birads} if breast.birads else {}),
        **source.spacing,
    }
    told = Told(problems, notes)
    return write_painted_image(
        task.root, key, record, source.to_integers(), painting, painted, attributes, told
    )
