"""Image files: PNG, JPEG, TIFF, and DICOM in several transfer syntaxes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
)

from fuzzing.byte_mutations import mutate_bytes
from fuzzing.kinds import InsaneResultError, Kind, check_finite
from lossless_jpeg import encode_lossless_jpeg
from modise_lightning.data.images.colours import read_colours
from modise_lightning.data.images.reading import read_image_file
from vindr_mammo_download import breast, make_dicom

_SIZE = (24, 16)
_SYNTAX_FILES = (
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
)
_NUMBERS: list[Any] = [0, -1, 1, 2, 8, 13, 16, 17, 32, 64, 255, 4096, 65535, None]
_TEXTS: list[Any] = ["nan", "inf", "-1", "0", "1e400", "", "x", "1\\2\\x", None]
_TAGS: dict[str, list[Any]] = {
    **dict.fromkeys(
        (
            "Rows",
            "Columns",
            "SamplesPerPixel",
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
            "PlanarConfiguration",
            "PixelPaddingValue",
            "PixelPaddingRangeLimit",
        ),
        _NUMBERS,
    ),
    **dict.fromkeys(
        ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "NumberOfFrames"), _TEXTS
    ),
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "YBR_FULL", "PALETTE COLOR", "", "x", None],
    "VOILUTFunction": ["SIGMOID", "LINEAR_EXACT", "x", "", None],
    "PixelData": [b"", b"\0", b"\xff" * 50, None],
}


def image_kinds() -> list[Kind]:
    """Give a kind a format."""
    pixels = np.random.default_rng(0).integers(0, 256, _SIZE, dtype=np.uint8)
    colours = np.random.default_rng(1).integers(0, 256, (*_SIZE, 4), dtype=np.uint8)
    deep = pixels.astype(np.uint16) * 257
    png = [_encode(values, "PNG") for values in (pixels, deep, colours, colours[..., :3])]
    png.append(_encode(pixels, "PNG", palette=True))
    jpeg = [_encode(pixels, "JPEG"), _encode(colours[..., :3], "JPEG")]
    tiff = [
        _encode(pixels, "TIFF"),
        _encode(deep, "TIFF"),
        _encode(pixels, "TIFF", compression="tiff_lzw"),
        _encode(pixels, "TIFF", compression="tiff_deflate"),
    ]
    return [
        Kind("png", "image.png", _read("image.png"), png, [mutate_png]),
        Kind("jpeg", "image.jpg", _read("image.jpg"), jpeg, [_insert_exif]),
        Kind("tiff", "image.tif", _read("image.tif"), tiff, [_mutate_tiff]),
        Kind("dicom", "image.dcm", _read("image.dcm"), _dicoms(), [_mutate_dicom]),
    ]


def _read(name: str) -> Any:
    def read(folder: Path) -> None:
        image = read_image_file(folder / name)
        if image.ndim != 2 or image.dtype != np.float32 or not image.size:
            raise InsaneResultError(f"an image of shape {image.shape}, {image.dtype}")
        check_finite(image, 0, 1, "an image")
        if not name.endswith(".dcm"):
            colours = read_colours(folder / name)
            if colours.shape != (*image.shape, 3) or colours.dtype != np.float32:
                raise InsaneResultError(f"colours of shape {colours.shape}, {colours.dtype}")
            check_finite(colours, 0, 1, "colours")

    return read


def _encode(values: np.ndarray, kind: str, palette: bool = False, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(values)
    (image.convert("P") if palette else image).save(stream, kind, **options)
    return stream.getvalue()


def _dicoms() -> list[bytes]:
    stored = breast([(40, 50, 15)], 0)[:48, :32].copy()
    files = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        files.append(_dicom(stored, syntax))
    files.append(
        _dicom(
            stored,
            ExplicitVRLittleEndian,
            WindowCenter=None,
            WindowWidth=None,
            PhotometricInterpretation="MONOCHROME1",
            RescaleSlope=2,
            RescaleIntercept=-5,
        )
    )
    files.append(_dicom(stored, JPEGLosslessSV1, PixelData=encapsulate([encode_lossless_jpeg(stored, 12)])))
    small = (stored // 16).astype(np.uint8)
    lossy = encapsulate([_encode(small, "JPEG")])
    files.append(_dicom(small, JPEGBaseline8Bit, PixelData=lossy, WindowCenter=128, WindowWidth=256))
    return [*files, *(Path(str(get_testdata_file(n, download=False))).read_bytes() for n in _SYNTAX_FILES)]


def _dicom(stored: np.ndarray, syntax: UID, **elements: Any) -> bytes:
    dataset = make_dicom(stored, **elements)
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _mutate_dicom(data: bytes, random: Random) -> bytes:
    """Set tags to values of another size, sign or type."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        for _ in range(random.choice((1, 1, 2, 3))):
            name = random.choice(list(_TAGS))
            value = random.choice(_TAGS[name])
            if value is None and name in dataset:
                delattr(dataset, name)
            elif value is not None:
                setattr(dataset, name, value)
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, dataset)
    except Exception:  # Not every value can be written; then its bytes are changed.
        return mutate_bytes(data, random)
    return stream.getvalue()


def mutate_png(data: bytes, random: Random) -> bytes:
    """Change a chunk and mend its checksum, or add one."""
    chunks = []
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return mutate_bytes(data, random)
    position = random.randrange(len(chunks))
    name, content = chunks[position]
    if random.random() < 0.5:
        chunks[position] = (name, mutate_bytes(content, random))
    else:
        name = random.choice(
            (
                b"iCCP",
                b"eXIf",
                b"sBIT",
                b"tRNS",
                b"PLTE",
                b"zTXt",
                b"iTXt",
                b"gAMA",
                b"acTL",
                b"fcTL",
                b"pHYs",
            )
        )
        compressed = b"x\0\0" + zlib.compress(bytes(random.choice((10, 5_000_000))))
        added = random.choice(
            (b"", b"x\0\0x\x9c\xff", b"\0" * 8, b"MM\0*\0\0\0\x08\0\x01\x01\x12", compressed)
        )
        chunks.insert(random.randrange(1, len(chunks) + 1), (name, added))
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _insert_exif(data: bytes, random: Random) -> bytes:
    """Put an EXIF segment behind the start of a JPEG."""
    entry = struct.pack(">HHHI", 1, 0x0112, random.choice((3, 2, 99)), random.choice((1, 0, 2**31)))
    value = struct.pack(">HH", random.choice((1, 3, 6, 8, 0, 99)), 0)
    content = b"Exif\0\0MM\0*" + struct.pack(">I", random.choice((8, 8, 8, 0, 2**31))) + entry + value
    content = content if random.random() < 0.7 else mutate_bytes(content, random)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", min(len(content) + 2, 65535)) + content + data[2:]


def _mutate_tiff(data: bytes, random: Random) -> bytes:
    """Change a field of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack(order + "I", data[4:8])[0] if len(data) >= 8 else 0
    if start + 2 > len(data):
        return mutate_bytes(data, random)
    (number,) = struct.unpack(order + "H", data[start : start + 2])
    place = start + 2 + 12 * random.randrange(max(1, number))
    offset, layout = random.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
    value = random.choice((0, 1, 2, 3, 5, 12, 16, 256, 257, 258, 262, 274, 281, 339, 65535))
    packed = struct.pack(order + layout, value)
    return data[: place + offset] + packed + data[place + offset + len(packed) :]
