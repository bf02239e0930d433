"""Reads an image file of any supported kind as grey values in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from modise_lightning.data.dicom import read_dicom
from modise_lightning.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", *DICOM_SUFFIXES)
# A whole-breast mammogram at 50 micrometres has under 40 megapixels.
MAXIMUM_PIXELS = 150_000_000
# Pillow would run other programs for some formats (EPS), so only these are tried.
_FORMATS = ("PNG", "JPEG", "TIFF")
_TIFF_PHOTOMETRIC = 262  # tag PhotometricInterpretation; 0 is WhiteIsZero


def find_images(path: Path) -> list[Path]:
    """List the images that a path names: itself, or those directly in a folder.

    Raises:
        UserError: There is nothing there, or nothing that is an image.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"input: the folder '{path}' holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        return files
    if not path.is_file():
        raise UserError(f"input: no file or folder '{path}'.")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"input: '{path}' is not an image that can be read ({', '.join(IMAGE_SUFFIXES)}).")
    return [path]


def read_image_file(path: Path) -> NDArray[np.float32]:
    """Read a PNG, JPEG, TIFF (the first picture of several) or DICOM.

    Returns:
        (H, W) float32 in [0, 1]: 8 bit divided by 255, 16 bit by 65535, colours as luminance; DICOM
        as displayed.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, or too large.
    """
    if not path.is_file():
        raise UserError(f"no image '{path}'.")
    if path.suffix.lower() in DICOM_SUFFIXES:
        return read_dicom(path, MAXIMUM_PIXELS)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UserError(
                    f"'{path}' has {image.width} x {image.height} pixels, more than {MAXIMUM_PIXELS}."
                )
            if image.mode.startswith("I;16"):
                values = np.asarray(image, dtype=np.float32) / np.float32(65535)
                # Pillow inverts WhiteIsZero at 8 bit, and leaves it at 16.
                inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
                return np.float32(1) - values if inverted else values
            if image.mode in ("I", "F"):
                raise UserError(
                    f"'{path}' holds 32-bit or signed pixels, whose white is unknown; store unsigned 8 or 16 "
                    "bit."
                )
            return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' has more than {MAXIMUM_PIXELS} pixels.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"'{path}' is not a readable image ({error}).") from error
