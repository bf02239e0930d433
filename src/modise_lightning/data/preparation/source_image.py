"""Reads an image of a download, DICOM or not, with what its header says and what its reader warns of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from modise_lightning.data.images.dicom import read_dicom
from modise_lightning.data.images.dicom_display import Window
from modise_lightning.data.images.pixel_spacing import SPACING_TAGS, pixel_spacing
from modise_lightning.data.images.reading import DICOM_SUFFIXES, MAXIMUM_PIXELS, read_image_file
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular
from modise_lightning.visible_text import shortened

_LONGEST_WARNING = 300  # characters; pydicom quotes values of any length


@dataclass(frozen=True)
class SourceImage:
    """An image as it is displayed.

    Attributes:
        shown: (H, W) float32 in [0, 1], tissue bright.
        bits: How many bits of a pixel the detector or its software filled.
        spacing: ``row_spacing_mm`` and ``column_spacing_mm`` where the header says them.
        warnings: What the reader warned of, a line each.
    """

    shown: NDArray[np.float32]
    bits: int
    spacing: dict[str, float]
    warnings: list[str]

    def to_integers(self) -> NDArray[Any]:
        """Give the pixels in 8 bit where the source has no more, else in 16 bit."""
        kind = np.uint8 if self.bits <= 8 else np.uint16
        return np.asarray(np.rint(self.shown * np.float32(np.iinfo(kind).max)), dtype=kind)


def read_source_image(path: Path, window: Window | None = None) -> SourceImage | str:
    """Read a DICOM file as it is displayed, or an 8-bit picture.

    Args:
        path: The file.
        window: Gives black and white of an image whose file says nothing of its display; see ``read_dicom``.

    Returns:
        The image, or why it cannot be read: sentences that begin with the error.
    """
    # pydicom warns of what it repairs and cannot repair: that belongs into the report, not on the screen.
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            check_regular(path)
            if path.suffix.lower() not in DICOM_SUFFIXES:
                shown = read_image_file(path)
                return SourceImage(_windowed(shown, window), 8, {}, _texts(warned))
            shown = read_dicom(path, MAXIMUM_PIXELS, window=window)
            tags = ["BitsStored", "BitsAllocated", *SPACING_TAGS]
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        except (OSError, UserError) as error:
            return " ".join([str(error), *_texts(warned)])
    spacing = pixel_spacing(header)
    return SourceImage(
        shown,
        int(header.get("BitsStored") or header.BitsAllocated),
        {} if spacing is None else {"row_spacing_mm": spacing[0], "column_spacing_mm": spacing[1]},
        _texts(warned),
    )


def _windowed(shown: NDArray[np.float32], window: Window | None) -> NDArray[np.float32]:
    limits = None if window is None else window(shown)
    if limits is None:
        return shown
    low, high = limits
    return np.asarray(((shown - np.float32(low)) / np.float32(high - low)).clip(0, 1), dtype=np.float32)


def _texts(warned: Sequence[warnings.WarningMessage]) -> list[str]:
    """Give each warning once, in a line."""
    lines = (" ".join(str(warning.message).split()) for warning in warned)
    return list(dict.fromkeys(shortened(line, _LONGEST_WARNING) for line in lines))
