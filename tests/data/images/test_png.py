"""PNG of every depth and kind against samples that the file was made of by hand."""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.errors import UserError
from modise_lightning.structures import ImageRecord

GREY, COLOURS, PALETTE, GREY_ALPHA, COLOURS_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOURS: 3, PALETTE: 1, GREY_ALPHA: 2, COLOURS_ALPHA: 4}
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def encode(
    samples: NDArray[Any],
    depth: int,
    kind: int,
    *chunks: tuple[bytes, bytes],
    rows: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """Make a PNG of (H, W, channels) samples, unfiltered; ``rows`` ends its pixels early, but cleanly."""
    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    lines = [
        b"\0" + np.packbits(line[:, 16 - depth :]).tobytes()
        for part in passes
        if part.size
        for line in np.unpackbits(part.astype(">u2").reshape(len(part), -1, 1).view(np.uint8), axis=-1)
    ][:rows]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    pixels = (b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*pair) for pair in ((b"IHDR", header), *chunks, pixels, (b"IEND", b""))
    )


def noise(depth: int, channels: int = 1, height: int = 9, width: int = 11) -> NDArray[Any]:
    return np.random.default_rng(depth).integers(0, 2**depth, (height, width, channels))


def read(data: bytes, folder: Path, warns: bool = False) -> NDArray[np.float32]:
    (folder / "a.png").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if warns else "error")
        return read_image_file(folder / "a.png")


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
        *((kind, depth) for kind in (COLOURS, GREY_ALPHA, COLOURS_ALPHA) for depth in (8, 16)),
    ],
)
def test_all_bits_count(kind: int, depth: int, tmp_path: Path) -> None:
    samples, full = noise(depth, CHANNELS[kind]), 2**depth - 1
    image = read(encode(samples, depth, kind), tmp_path)
    colours = samples[..., : 3 if CHANNELS[kind] >= 3 else 1]
    grey = np.rint(colours @ LUMINANCE) if colours.shape[-1] == 3 else colours[..., 0]
    expected = grey / full
    if kind in (GREY_ALPHA, COLOURS_ALPHA):
        expected = expected * (samples[..., -1] / full)
    # Pillow's weights of the luminance are rounded to 16 bits.
    np.testing.assert_allclose(image, expected, rtol=0, atol=2e-7 if colours.shape[-1] == 1 else 1.1 / full)


def test_lower_bits_of_colours_reach_the_image(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.int64).reshape(16, 16, 1) + 40_000
    for kind in (COLOURS, COLOURS_ALPHA, GREY_ALPHA):
        samples = np.repeat(ramp, CHANNELS[kind], axis=-1)
        if kind != COLOURS:
            samples[..., -1] = 65535
        image = read(encode(samples, 16, kind), tmp_path)
        assert np.array_equal(image, ramp[..., 0].astype(np.float32) / np.float32(65535))


def test_eight_bit_colours_are_as_pillow_makes_them_grey(tmp_path: Path) -> None:
    samples = noise(8, 3, 64, 64).astype(np.uint8)
    expected = np.asarray(Image.fromarray(samples).convert("L")) / np.float32(255)
    assert np.array_equal(read(encode(samples, 8, COLOURS), tmp_path), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_is_black_at_every_depth(depth: int, tmp_path: Path) -> None:
    samples = noise(depth)
    transparent = int(samples[2, 3, 0]) or 1
    image = read(encode(samples, depth, GREY, (b"tRNS", struct.pack(">H", transparent))), tmp_path)
    shown = np.where(samples == transparent, 0, samples)[..., 0]
    np.testing.assert_allclose(image, shown / (2**depth - 1), rtol=0, atol=1e-7)
    assert image[samples[..., 0] == transparent].max() == 0


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_is_black_and_others_are_not(depth: int, tmp_path: Path) -> None:
    samples = np.full((2, 3, 3), 2**depth - 2)
    samples[0, 0] += [0, 0, 1]  # differs in the lowest bit of blue
    transparent = struct.pack(">3H", *[2**depth - 2] * 3)
    image = read(encode(samples, depth, COLOURS, (b"tRNS", transparent)), tmp_path)
    assert image[0, 0] > 0.99
    assert np.count_nonzero(image) == 1


def test_palettes_and_their_transparency(tmp_path: Path) -> None:
    palette = np.arange(48, dtype=np.uint8).reshape(16, 3) * 5
    alpha = np.array([255, 0, 128], dtype=np.uint8)  # the other entries are opaque
    samples = noise(4)
    data = encode(samples, 4, PALETTE, (b"PLTE", palette.tobytes()), (b"tRNS", alpha.tobytes()))
    opacity = np.concatenate([alpha, np.full(13, 255)]) / 255
    expected = (palette @ LUMINANCE / 255 * opacity)[samples[..., 0]]
    np.testing.assert_allclose(read(data, tmp_path), expected, rtol=0, atol=1 / 255)


SPREAD = {
    "shifted": lambda values, bits, depth: values << (depth - bits),
    "repeated": lambda values, bits, depth: (values << (depth - bits)) | (values >> max(2 * bits - depth, 0)),
    "left": lambda values, bits, depth: values,
}


@pytest.mark.parametrize("way", SPREAD)
@pytest.mark.parametrize(
    ("kind", "bits", "depth"), [(GREY, 12, 16), (GREY, 10, 16), (GREY, 6, 8), (COLOURS, 12, 16)]
)
def test_white_is_what_significant_bits_say(
    way: str, kind: int, bits: int, depth: int, tmp_path: Path
) -> None:
    values = noise(bits)
    samples = np.repeat(SPREAD[way](values, bits, depth), CHANNELS[kind], axis=-1)
    image = read(encode(samples, depth, kind, (b"sBIT", bytes([bits] * CHANNELS[kind]))), tmp_path)
    # Shifted values end at 65520, say, which is white less 0.02 % (at 6 of 8 bits 1.2 %).
    tolerance = {"shifted": 2.0**-bits, "repeated": 1 / (2**depth - 1), "left": 1e-6}[way]
    np.testing.assert_allclose(image, values[..., 0] / (2**bits - 1), rtol=0, atol=tolerance)


def test_a_dark_picture_of_spread_bits_stays_dark(tmp_path: Path) -> None:
    samples = noise(8) * 16  # of 12 bits, shifted, none above 255 of 4095
    image = read(encode(samples, 16, GREY, (b"sBIT", bytes([12]))), tmp_path, warns=True)
    np.testing.assert_allclose(image, samples[..., 0] / 65535, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", [GREY, COLOURS, GREY_ALPHA])
def test_twelve_bits_that_nothing_tells_of_are_told(kind: int, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(encode(noise(12, CHANNELS[kind]), 16, kind))
    with pytest.warns(UserWarning, match=r"b\.png' has no value above \d+ in 16 bits"):
        read_image_file(tmp_path / "b.png")


def damaged(data: bytes) -> dict[str, bytes]:
    at = data.index(b"IDAT") + 20
    return {
        "cut in its pixels": data[: len(data) // 2],
        "cut before its end": data[:-12],
        "a changed byte": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "no pixels": data[: data.index(b"IDAT") - 4] + chunk(b"IEND", b""),
        "a long chunk": data[:33] + struct.pack(">I", 2**31 - 1) + b"sBIT" + data[33:],
        "an unknown kind": data[:25] + b"\x05" + data[26:29] + struct.pack(">I", 0) + data[33:],
    }


@pytest.mark.parametrize("damage", [*damaged(encode(noise(8), 8, GREY)), "half of its rows"])
@pytest.mark.parametrize(("kind", "depth"), [(GREY, 8), (GREY, 16), (COLOURS, 8), (GREY, 1)])
def test_damaged_files_are_refused_by_name(damage: str, kind: int, depth: int, tmp_path: Path) -> None:
    samples = noise(depth, CHANNELS[kind], 40, 30)
    if damage == "half of its rows":
        data = encode(samples, depth, kind, rows=20)
        with Image.open(write(tmp_path / "p.png", data)) as image:
            image.load()  # Pillow reads it
    else:
        data = damaged(encode(samples, depth, kind))[damage]
    with pytest.raises(UserError, match=r"a\.png' is not a readable image"):
        read(data, tmp_path)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("kind", "depth"), [(GREY, 2), (GREY, 16), (COLOURS, 16)])
def test_interlaced_files(kind: int, depth: int, tmp_path: Path) -> None:
    samples = noise(depth, CHANNELS[kind], 13, 10)
    plain = read(encode(samples, depth, kind), tmp_path)
    assert np.array_equal(read(encode(samples, depth, kind, interlaced=True), tmp_path), plain)
    with pytest.raises(UserError, match=r"a\.png' is not a readable image"):
        read(encode(samples, depth, kind, interlaced=True, rows=20), tmp_path)


def test_a_half_id_map_is_refused_by_name(tmp_path: Path) -> None:
    ids = noise(8, 3, 8, 10)
    dataset = PreparedDataset(tmp_path, tmp_path / "panoptic.json", tmp_path, tmp_path, {}, (), [], False)
    record = ImageRecord(1, "a.png", "p", 8, 10)
    path = write(tmp_path / "a.png", encode(ids, 8, COLOURS))
    read_map = dataset._read_id_map(path, record)
    assert np.array_equal(read_map, ids @ [1, 256, 65536])
    write(path, encode(ids, 8, COLOURS, rows=4))
    with pytest.raises(UserError, match=r"a\.png' is damaged"):
        dataset._read_id_map(path, record)


def test_a_huge_id_map_is_refused_before_its_pixels_are_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 8_000, 9_000, 8, COLOURS, 0, 0, 0)
    path = write(
        tmp_path / "a.png",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
    )
    dataset = PreparedDataset(tmp_path, tmp_path / "panoptic.json", tmp_path, tmp_path, {}, (), [], False)
    with pytest.raises(UserError, match=r"a\.png' has 9000 x 8000 pixels, more than 60000000"):
        dataset._read_id_map(path, ImageRecord(1, "a.png", "p", 9_000, 8_000))
