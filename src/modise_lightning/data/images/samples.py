"""Stored samples of pictures: colours to one grey value, and a look at whether their white is plausible."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.images.image_file import ImageFile, PixelSettings
from modise_lightning.errors import UserError

WHITE_12_BIT, WHITE_16_BIT = 4095, 65535
# Of red, green and blue in 65536ths: ITU-R 601-2, rounded as Pillow does.
_LUMINANCE = (19595, 38470, 7471)


def luminance(samples: NDArray[Any]) -> NDArray[Any]:
    """Turn colours into grey values of the same depth.

    Args:
        samples: (H, W) grey, which stays, or (H, W, 3) red, green and blue; uint8 or uint16.

    Returns:
        (H, W) of the same type.
    """
    if samples.ndim == 2:
        return samples
    total = np.full(samples.shape[:2], 2**15, dtype=np.uint32)  # half, for rounding
    for channel, weight in enumerate(_LUMINANCE):
        total += samples[..., channel].astype(np.uint32) * np.uint32(weight)
    return (total >> 16).astype(samples.dtype)


def undeclared_white(path: ImageFile, stored: NDArray[Any], pixels: PixelSettings) -> int:
    """Give the white of 16-bit samples in a file that says nothing of it.

    Raises:
        UserError: A sample is above the white that the settings give.
    """
    largest = int(stored.max(initial=0))
    if pixels.white is None:
        warn_if_nearly_black(path, largest)
        return WHITE_16_BIT
    if largest > pixels.white:
        raise UserError(
            f"'{path}' has the value {largest}, above white={pixels.white}. Give the white of its pixels "
            "(white=65535, or white=auto), or predict it apart."
        )
    return pixels.white


def warn_if_nearly_black(path: ImageFile, largest: int) -> None:
    """Warn of 16-bit samples that would fit into 12 bits, in a file that does not say that they are."""
    if 0 < largest <= WHITE_12_BIT:
        warnings.warn(
            f"'{path}' has no value above {largest} in 16 bits and says nothing of its white: it is read as "
            "nearly black. Store its white (TIFF's MaxSampleValue, PNG's sBIT), or the full range.",
            stacklevel=5,
        )
