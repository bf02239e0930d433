"""Writes an image with its painted outlines, and says what each of them lost; what sources share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from modise_lightning.data.preparation.journal import FinishedImage, png_sizes
from modise_lightning.data.preparation.region_painting import Painting
from modise_lightning.data.prepared.writing import write_entry
from modise_lightning.structures import ImageRecord


@dataclass(frozen=True)
class PaintedOutline:
    """What is to be told of an outline that was painted.

    Attributes:
        row: Where it is in the annotation file.
        label: Class index.
        left_out: Begin of the sentence that says that smaller ones cover it.
    """

    row: int
    label: int
    left_out: str


@dataclass
class Told:
    """What a conversion has to say, for the report.

    Attributes:
        problems: What is wrong, a sentence each.
        notes: What else is to be told.
        counts: How often what was done.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)


def write_painted_image(
    root: Path,
    key: str,
    record: ImageRecord,
    pixels: NDArray[Any],
    painting: Painting,
    outlines: Sequence[PaintedOutline],
    attributes: Mapping[str, str | int | float],
    told: Told,
) -> FinishedImage:
    """Write both PNGs of an image.

    Args:
        root: Folder of the prepared dataset.
        key: Hash of everything that the image was made from.
        record: Where it comes from.
        pixels: As ``write_entry`` takes them.
        painting: Of the outlines.
        outlines: In the order in which they were painted.
        attributes: What goes into the index beside it.
        told: What is to be told before the outlines that smaller ones cover.
    """
    notes = [
        f"{outlines[index].left_out} cover all but {painting.visible[index]} of its {painting.areas[index]} "
        "pixels."
        for index in painting.dropped
    ]
    hidden = [
        {"row": outline.row, "pixels": pixels_of_it, "left": left}
        for outline, pixels_of_it, left in zip(outlines, painting.areas, painting.visible, strict=True)
        if left < pixels_of_it
    ]
    labels = [outlines[index].label for index in painting.kept]
    entry = write_entry(root, record, pixels, painting.segment_ids, labels, attributes)
    sizes = png_sizes(root, record.file_name)
    return FinishedImage(key, entry, sizes, hidden, told.problems, [*told.notes, *notes], dict(told.counts))
