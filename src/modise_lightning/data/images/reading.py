"""Reads an image file of any supported kind as grey values in [0, 1]."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from modise_lightning.data.images.dicom import read_dicom
from modise_lightning.data.images.image_file import DEFAULT_PIXELS, ImageFile, PixelSettings
from modise_lightning.data.images.png import has_metadata, read_png
from modise_lightning.data.images.samples import (
    WHITE_12_BIT,
    WHITE_16_BIT,
    undeclared_white,
    warn_if_nearly_black,
)
from modise_lightning.errors import UserError

DICOM_SUFFIXES = (".dcm", ".dicom")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, *DICOM_SUFFIXES)
# A whole-breast mammogram at 50 micrometres has under 40 megapixels; memory grows with the pixels.
MAXIMUM_PIXELS = 60_000_000
# Pillow would run other programs for some formats (EPS), so only these are tried.
PICTURE_FORMATS = ("PNG", "JPEG", "TIFF")
_TIFF_BITS = 258  # tag BitsPerSample
_TIFF_PHOTOMETRIC = 262  # tag PhotometricInterpretation; 0 is WhiteIsZero
_TIFF_MAXIMUM = 281  # tag MaxSampleValue
_TIFF_PLANES = 284  # tag PlanarConfiguration; 2 is one plane a colour
_PNG_DEPTH = 24  # where a PNG says how many bits a sample has
ORIENTATION = 274  # tag Orientation, of TIFF and EXIF


def _begins_as_dicom(path: ImageFile) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom(path: ImageFile) -> bool:
    """Tell what is read as DICOM: by suffix, and by content where the suffix is of no kind of image.

    Raises:
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    return suffix in DICOM_SUFFIXES or (suffix not in IMAGE_SUFFIXES and _begins_as_dicom(path))


def read_image_file(path: ImageFile, pixels: PixelSettings = DEFAULT_PIXELS) -> NDArray[np.float32]:
    """Read a PNG, JPEG, TIFF (the first picture of several) or DICOM.

    Args:
        path: The file.
        pixels: What is done where the file does not say enough, or holds more than one picture.

    Returns:
        (H, W) float32 in [0, 1], turned as its orientation tag says: samples divided by the largest that
        their bits can hold or by the white that the file declares, colours as luminance, transparent pixels
        as on black; DICOM as displayed.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, or too large.
    """
    return _read(path, pixels)[0]


def largest_undeclared(path: ImageFile) -> int | None:
    """Give the largest sample of a 16-bit picture that says nothing of its white; None for other files.

    What cannot be such a picture by its beginning is not decoded.

    Raises:
        UserError: The file is missing, unreadable, truncated, empty, or too large.
    """
    if path.is_file():
        with path.open("rb") as stream:
            beginning = stream.read(_PNG_DEPTH + 1)
        is_png = beginning.startswith(b"\x89PNG")
        if beginning.startswith(b"\xff\xd8") or (is_png and beginning[_PNG_DEPTH:] != b"\x10"):
            return None
    return _read(path, PixelSettings(white=WHITE_16_BIT))[1]


def _read(path: ImageFile, pixels: PixelSettings) -> tuple[NDArray[np.float32], int | None]:
    """Give the grey values of an image, and its largest sample where white is not told."""
    if not path.is_file():
        raise UserError(f"no image '{path}'.")
    try:
        if is_dicom(path):
            return read_dicom(path, MAXIMUM_PIXELS, pixels), None
        # By its stream: Pillow maps a file that it opens by name, and then scrambles a turned TIFF.
        with path.open("rb") as stream, Image.open(stream, formats=PICTURE_FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UserError(
                    f"'{path}' has {image.width} x {image.height} pixels, more than {MAXIMUM_PIXELS}."
                )
            if isinstance(image, PngImageFile):
                values, undeclared = read_png(path, image.width, image.height, pixels)
                # Without the condition Pillow would decode the pixels too, to look for a tag behind them.
                orientation = image.getexif().get(ORIENTATION, 1) if has_metadata(path) else 1
            else:
                values, undeclared = _grey_values(path, image, pixels)
                orientation = image.getexif().get(ORIENTATION, 1)  # of TIFF Pillow has already turned them
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' has more than {MAXIMUM_PIXELS} pixels.") from error
    except Exception as error:  # Damaged files make Pillow and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable image ({reason}).") from error
    return np.ascontiguousarray(upright(values, orientation)), undeclared


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


def _grey_values(
    path: ImageFile, image: Image.Image, pixels: PixelSettings
) -> tuple[NDArray[np.float32], int | None]:
    """Decode an opened JPEG or TIFF, (H, W) in [0, 1]; transparent pixels as on black."""
    if image.mode.startswith("I;16"):
        stored = np.asarray(image)
        white = _declared_white(path, image, stored)
        is_undeclared = white is None
        if white is None:
            white = undeclared_white(path, stored, pixels)
        values = stored.astype(np.float32)
        values /= np.float32(white)
        # Pillow inverts WhiteIsZero at 8 bit, and leaves it at 16.
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            values = np.float32(1) - values
        return values, int(stored.max(initial=0)) if is_undeclared else None
    if image.mode in ("I", "F"):
        raise UserError(
            f"'{path}' holds 32-bit or signed pixels, whose white is unknown; store unsigned 8 or 16 bit."
        )
    if isinstance(image, TiffImageFile) and max(_numbers(image, _TIFF_BITS), default=8) > 8:
        return _coarse_colours(path, image), None
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        black = Image.new("RGBA", coloured.size, (0, 0, 0, 255))
        grey = Image.alpha_composite(black, coloured).convert("L")
    else:
        grey = image.convert("L")
    return np.asarray(grey, dtype=np.float32) / np.float32(255), None


def _declared_white(path: ImageFile, image: Image.Image, stored: NDArray[Any]) -> int | None:
    """Give the 16-bit value that is white as a TIFF declares; None where it does not."""
    if isinstance(image, TiffImageFile):
        if _numbers(image, _TIFF_BITS) == [12]:
            return WHITE_12_BIT
        if declared := _numbers(image, _TIFF_MAXIMUM):
            white = declared[0]
            # Some programs declare the largest value that the picture happens to have; white is 2^b - 1.
            if 0 < white <= WHITE_16_BIT and not white & (white + 1) and stored.max(initial=0) <= white:
                return white
            warnings.warn(
                f"'{path}' declares the largest value {white}, which is no white of whole bits or too small "
                f"for its pixels: its white is taken to be {WHITE_16_BIT}.",
                stacklevel=5,
            )
            return WHITE_16_BIT
    return None


def _coarse_colours(path: ImageFile, image: TiffImageFile) -> NDArray[np.float32]:
    """Read colours of 16 bits, of which Pillow keeps the upper 8."""
    if image.tag_v2.get(_TIFF_PLANES) == 2:  # Pillow scrambles these where they are not compressed.
        raise UserError(f"'{path}' holds 16-bit colours in planes; store them together, or grey.")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    coloured = Image.alpha_composite(black, image.convert("RGBA"))
    values = np.asarray(coloured.convert("L"))
    warn_if_nearly_black(path, int(values.max(initial=0)) << 8)
    return values.astype(np.float32) / np.float32(255)


def _numbers(image: TiffImageFile, tag: int) -> list[int]:
    found = image.tag_v2.get(tag, ())
    return [value for value in (found if isinstance(found, tuple) else (found,)) if isinstance(value, int)]
