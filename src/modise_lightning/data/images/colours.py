"""Reads the colours of a picture, for models of natural images; mammograms are read as grey values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modise_lightning.data.images.image_file import DEFAULT_PIXELS, ImageFile, PixelSettings
from modise_lightning.data.images.reading import (
    MAXIMUM_PIXELS,
    ORIENTATION,
    PICTURE_FORMATS,
    PICTURE_SUFFIXES,
    read_image_file,
    upright,
)
from modise_lightning.errors import UserError

_COLOURED = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


def read_colours(path: ImageFile, pixels: PixelSettings = DEFAULT_PIXELS) -> NDArray[np.float32]:
    """Read a picture's colours; one without any is read as ``read_image_file`` does and repeated.

    Args:
        path: PNG, JPEG, TIFF or DICOM. Of colours of 16 bits the upper 8 are read.
        pixels: What is done where a picture without colours does not say enough.

    Returns:
        (H, W, 3) float32 in [0, 1], turned as its orientation tag says, transparent pixels as on black.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, or too large.
    """
    values = _coloured(path) if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() else None
    if values is None:
        return np.repeat(read_image_file(path, pixels)[..., None], 3, axis=-1)
    return values


def _coloured(path: ImageFile) -> NDArray[np.float32] | None:
    """Decode a picture in colours; None for one without any."""
    try:
        with path.open("rb") as stream, Image.open(stream, formats=PICTURE_FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UserError(
                    f"'{path}' has {image.width} x {image.height} pixels, more than {MAXIMUM_PIXELS}."
                )
            if image.mode not in _COLOURED:
                return None
            image.load()
            orientation = image.getexif().get(ORIENTATION, 1)  # of TIFF Pillow has already turned it
            if image.has_transparency_data:
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                decoded = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
            else:
                decoded = image.convert("RGB")
            values = np.asarray(decoded, dtype=np.float32) / np.float32(255)
    except UserError:
        raise
    except Exception as error:  # Damaged files make Pillow and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable image ({reason}).") from error
    return np.ascontiguousarray(upright(values, orientation))
