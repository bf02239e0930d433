"""Reads PNG at its full depth: Pillow would drop the lower 8 of 16 bits of colours, and read half a file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.images.image_file import ImageFile, PixelSettings
from modise_lightning.data.images.samples import (
    WHITE_16_BIT,
    luminance,
    undeclared_white,
    warn_if_nearly_black,
)
from modise_lightning.errors import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # colour type of IHDR
_CHANNELS = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}  # samples a pixel of each colour type
# The chunks that pixels depend on; others (profiles, texts, animations) are kept from the decoder.
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_NEEDED, b"tRNS", b"sBIT")
METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # where an orientation may be
_OTHER_BYTES = 2**20  # of a chunk that is not pixels


@dataclass(frozen=True)
class _Chunks:
    """What a file says of its pixels (PNG specification, third edition, sections 11.2 and 11.3).

    Attributes:
        depth: Bits of a sample.
        colour_type: 0 grey, 2 colours, 3 palette, 4 grey and alpha, 6 colours and alpha.
        significant_bits: Bits of a sample that hold something (sBIT); None where nothing is said.
        transparent: The sample values of the one transparent grey or colour (tRNS).
        bare: The file without the chunks that do not change its pixels as they are stored.
    """

    depth: int
    colour_type: int
    significant_bits: int | None
    transparent: tuple[int, ...] | None
    bare: bytes


def read_png(
    path: ImageFile, width: int, height: int, pixels: PixelSettings
) -> tuple[NDArray[np.float32], int | None]:
    """Read a PNG's pixels as they are stored, without its orientation.

    Args:
        path: The file.
        width: As its header says; the caller has checked that it is not too large.
        height: Likewise.
        pixels: What is white in 16 bits of which the file says nothing.

    Returns:
        (H, W) float32 in [0, 1]: samples divided by white (255 or 65535; 2^b - 1 where sBIT says that b bits
        are used and no value needs more), colours as luminance, transparent pixels as on black. And the
        largest sample where its white is not told.

    Raises:
        UserError: It is truncated or damaged, or ends before its last row.
    """
    chunks = _read_chunks(path, width, height)
    decoded = cv2.imdecode(np.frombuffer(chunks.bare, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.shape[:2] != (height, width):
        raise UserError(f"'{path}' is not a readable image (its pixels are damaged, or end early).")
    full = 255 if decoded.dtype == np.uint8 else WHITE_16_BIT
    alpha = decoded[..., 3] if decoded.ndim == 3 and decoded.shape[2] == 4 else None
    colours = decoded if decoded.ndim == 2 else decoded[..., 2::-1]
    stored = luminance(colours)
    is_undeclared = full > 255 and chunks.significant_bits is None
    if is_undeclared:
        white = undeclared_white(path, colours, pixels)
    else:
        white = _white(chunks, colours, full)
        if white == full > 255:
            warn_if_nearly_black(path, int(colours.max(initial=0)))
    values = stored.astype(np.float32)
    values /= np.float32(white)
    if alpha is not None:
        values *= alpha.astype(np.float32) / np.float32(full)
    if chunks.transparent is not None:
        # OpenCV spreads samples of fewer than 8 bits over 0..255.
        scale = 1 if chunks.depth >= 8 else 255 // (2**chunks.depth - 1)
        is_transparent = colours == np.asarray(chunks.transparent) * scale
        values[is_transparent if colours.ndim == 2 else is_transparent.all(-1)] = 0
    return values, int(colours.max(initial=0)) if is_undeclared else None


def _white(chunks: _Chunks, colours: NDArray[Any], full: int) -> int:
    """Give the sample value that is white.

    sBIT says how many bits of a sample hold something. A writer shall spread them over the whole depth; many
    leave them at the lower end instead, which shows in lower bits that spreading would have left empty.
    """
    bits = chunks.significant_bits
    if bits is None or chunks.depth < 8 or bits >= chunks.depth:
        return full
    largest = int(colours.max(initial=0))
    unused = 2 ** (chunks.depth - bits) - 1
    left_as_they_are = largest < 2**bits and bool((colours & colours.dtype.type(unused)).any())
    return 2**bits - 1 if left_as_they_are else full


def _read_chunks(path: ImageFile, width: int, height: int) -> _Chunks:
    kept: list[tuple[bytes, bytes]] = []
    # Eight bytes a pixel at most; an uncompressed stream is little larger than its pixels.
    left = 2 * 8 * width * height + _OTHER_BYTES
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            raise UserError(f"'{path}' is not a readable image (no PNG).")
        while not kept or kept[-1][0] != b"IEND":
            name, length = _next_chunk(path, file)
            if name not in _KEPT:
                file.seek(length + 4, 1)
                continue
            left -= length
            if left < 0 or (name != b"IDAT" and length > _OTHER_BYTES):
                raise UserError(f"'{path}' is not a readable image (its chunk {name!r} is too long).")
            data, check = file.read(length), file.read(4)
            if len(check) < 4:
                raise UserError(f"'{path}' is not a readable image (it is truncated).")
            if check != struct.pack(">I", zlib.crc32(data, zlib.crc32(name))):
                raise UserError(f"'{path}' is not a readable image (its chunk {name!r} is damaged).")
            kept.append((name, data))
    return _understand(path, kept)


def _next_chunk(path: ImageFile, file: BinaryIO) -> tuple[bytes, int]:
    header = file.read(8)
    if len(header) < 8:
        raise UserError(f"'{path}' is not a readable image (it is truncated).")
    return header[4:], int.from_bytes(header[:4], "big")


def _understand(path: ImageFile, kept: list[tuple[bytes, bytes]]) -> _Chunks:
    first, header = kept[0]
    if first != b"IHDR" or len(header) != 13:
        raise UserError(f"'{path}' is not a readable image (it does not begin with its header).")
    depth, colour_type = header[8], header[9]
    if colour_type not in _CHANNELS:
        raise UserError(f"'{path}' is not a readable image (its colour type {colour_type} does not exist).")
    found = dict(reversed(kept))
    number = _CHANNELS[colour_type]
    significant = found.get(b"sBIT")
    bits = None
    if significant and colour_type != _PALETTE and len(significant) == number:
        bits = max(significant[: 3 if number >= 3 else 1]) or None
    transparent = None
    if colour_type in (0, 2) and len(found.get(b"tRNS", b"")) == 2 * number:
        transparent = struct.unpack(f">{number}H", found[b"tRNS"])
    decoded = _NEEDED if colour_type != _PALETTE else (*_NEEDED, b"tRNS")
    bare = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
        for name, data in kept
        if name in decoded
    )
    return _Chunks(depth, colour_type, bits, transparent, _SIGNATURE + bare)


def has_metadata(path: ImageFile) -> bool:
    """Tell whether a PNG has a chunk that may hold an orientation, before or after its pixels."""
    with path.open("rb") as file:
        file.seek(len(_SIGNATURE))
        while len(header := file.read(8)) == 8:
            if header[4:] in METADATA:
                return True
            file.seek(int.from_bytes(header[:4], "big") + 4, 1)
    return False
