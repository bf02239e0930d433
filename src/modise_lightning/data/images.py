"""Reads an image file of any supported kind as grey values in [0, 1]."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from modise_lightning.data.dicom import read_dicom
from modise_lightning.data.download import is_of_the_system
from modise_lightning.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", *DICOM_SUFFIXES)
# A whole-breast mammogram at 50 micrometres has under 40 megapixels; memory grows with the pixels.
MAXIMUM_PIXELS = 60_000_000
# Pillow would run other programs for some formats (EPS), so only these are tried.
_FORMATS = ("PNG", "JPEG", "TIFF")
_TIFF_PHOTOMETRIC = 262  # tag PhotometricInterpretation; 0 is WhiteIsZero
_TIFF_MAXIMUM = 281  # tag MaxSampleValue
ORIENTATION = 274  # tag Orientation, of TIFF and EXIF
_WHITE_12_BIT, _WHITE_16_BIT = 4095, 65535


def find_images(path: Path) -> list[Path]:
    """List the images that a path names: itself, or those directly in a folder.

    Raises:
        UserError: There is nothing there, or nothing that is an image.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _is_image(file))
        if not files:
            raise UserError(f"input: the folder '{path}' holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        return files
    if not path.is_file():
        raise UserError(f"input: no file or folder '{path}'.")
    if not _is_image(path):
        raise UserError(f"input: '{path}' is not an image that can be read ({', '.join(IMAGE_SUFFIXES)}).")
    return [path]


def _is_image(path: Path) -> bool:
    """Tell images by suffix, and DICOM without one by its content (DICOM PS3.10, 7.1)."""
    if is_of_the_system(path.name) or not path.is_file():
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES or _begins_as_dicom(path)


def _begins_as_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_image_file(path: Path) -> NDArray[np.float32]:
    """Read a PNG, JPEG, TIFF (the first picture of several) or DICOM.

    Returns:
        (H, W) float32 in [0, 1], turned as its orientation tag says: 8 bit divided by 255, 16 bit by 65535 or
        by the white that the file declares, colours as luminance, transparent pixels as on black; DICOM as
        displayed.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, or too large.
    """
    if not path.is_file():
        raise UserError(f"no image '{path}'.")
    if path.suffix.lower() in DICOM_SUFFIXES or _begins_as_dicom(path):
        return read_dicom(path, MAXIMUM_PIXELS)
    try:
        # By its stream: Pillow maps a file that it opens by name, and then scrambles a turned TIFF.
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UserError(
                    f"'{path}' has {image.width} x {image.height} pixels, more than {MAXIMUM_PIXELS}."
                )
            values = _grey_values(path, image)
            orientation = image.getexif().get(ORIENTATION, 1)  # of TIFF Pillow has already turned them
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' has more than {MAXIMUM_PIXELS} pixels.") from error
    except Exception as error:  # Damaged files make Pillow and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable image ({reason}).") from error
    return np.ascontiguousarray(upright(values, orientation))


def upright(pixels: NDArray[Any], orientation: object) -> NDArray[Any]:
    """Turn pixels as they are stored to how they are shown.

    Args:
        pixels: (H, W, ...).
        orientation: EXIF's and TIFF's tag 274 (EXIF 2.32, section 4.6.4): 1 to 8; others mean as stored.

    Returns:
        (H, W, ...), or (W, H, ...) for 5 to 8.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _grey_values(path: Path, image: Image.Image) -> NDArray[np.float32]:
    """Decode an opened image, (H, W) in [0, 1]; transparent pixels as on black."""
    if image.mode.startswith("I;16"):
        stored = np.asarray(image)
        white = _declared_white(image)
        if white is None:
            white = _WHITE_16_BIT
            largest = int(stored.max(initial=0))
            if 0 < largest <= _WHITE_12_BIT:
                warnings.warn(
                    f"'{path}' has no value above {largest} in 16 bits and says nothing of its white: it is "
                    "read as nearly black. Store its white (TIFF's MaxSampleValue), or the full range.",
                    stacklevel=3,
                )
        values: NDArray[np.float32] = np.minimum(stored.astype(np.float32) / np.float32(white), np.float32(1))
        # Pillow inverts WhiteIsZero at 8 bit, and leaves it at 16.
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            values = np.float32(1) - values
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            values[stored == transparent] = 0
        return values
    if image.mode in ("I", "F"):
        raise UserError(
            f"'{path}' holds 32-bit or signed pixels, whose white is unknown; store unsigned 8 or 16 bit."
        )
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, coloured).convert("L"), dtype=np.float32) / np.float32(
            255
        )
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def _declared_white(image: Image.Image) -> int | None:
    """Give the value that the file says is the largest, or None where it says nothing of it."""
    if not isinstance(image, TiffImageFile):
        return None
    found = image.tag_v2.get(_TIFF_MAXIMUM)
    found = found[0] if isinstance(found, tuple) and found else found
    return found if isinstance(found, int) and 0 < found <= _WHITE_16_BIT else None
