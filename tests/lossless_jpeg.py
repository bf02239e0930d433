"""Encodes lossless JPEG (ITU-T T.81, process 14), which mammographs write and no library here does."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_CODE_BITS = 5  # one length for all 17 codes of a difference's magnitude; simple instead of short


def encode_lossless_jpeg(pixels: NDArray[np.uint16], precision: int) -> bytes:
    """Encode a grey image with the predictor of transfer syntax 1.2.840.10008.1.2.4.70: the left neighbour.

    Args:
        pixels: (H, W).
        precision: Bits of a sample.

    Returns:
        The JPEG stream.
    """
    height, width = pixels.shape
    values = pixels.astype(np.int64)
    prediction = np.empty_like(values)
    prediction[:, 1:] = values[:, :-1]
    prediction[1:, 0] = values[:-1, 0]
    prediction[0, 0] = 1 << (precision - 1)
    # Differences are modulo 2^16 (T.81, H.1.2.2).
    differences = (values - prediction + 32768) % 65536 - 32768
    bits = "".join(_difference_bits(int(difference)) for difference in differences.ravel())
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xC3, struct.pack(">BHHB3B", precision, height, width, 1, 1, 0x11, 0)),
            _segment(
                0xC4, bytes([0, *(17 if length == _CODE_BITS else 0 for length in range(1, 17)), *range(17)])
            ),
            _segment(0xDA, bytes([1, 1, 0, 1, 0, 0])),
            data,
            b"\xff\xd9",
        ]
    )


def _difference_bits(difference: int) -> str:
    """Write the magnitude's code and the bits that tell the difference apart (T.81, H.1.2.2)."""
    if difference == -32768:
        return f"{16:0{_CODE_BITS}b}"
    magnitude = abs(difference).bit_length()
    code = f"{magnitude:0{_CODE_BITS}b}"
    if magnitude == 0:
        return code
    value = difference if difference > 0 else difference + (1 << magnitude) - 1
    return code + f"{value:0{magnitude}b}"


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
