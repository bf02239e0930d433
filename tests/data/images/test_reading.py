"""Image files of every supported kind read as grey values in [0, 1]; broken and hostile ones are told."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file

from modise_lightning.data.images.image_file import FileInMemory, PixelSettings
from modise_lightning.data.images.reading import largest_undeclared, read_image_file
from modise_lightning.data.sources.cdd_cesm.image import read_jpeg
from modise_lightning.errors import UserError


def noise(dtype: type[np.uint8 | np.uint16], *shape: int) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_values_are_exact(
    suffix: str, dtype: type[np.uint8 | np.uint16], white: int, tmp_path: Path
) -> None:
    pixels = noise(dtype, 20, 30)
    Image.fromarray(pixels).save(tmp_path / f"image{suffix}")
    image = read_image_file(tmp_path / f"image{suffix}")
    assert image.dtype == np.float32
    assert np.array_equal(image, pixels.astype(np.float32) / np.float32(white))


def test_jpeg_is_read(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (24, 1))
    Image.fromarray(pixels).save(tmp_path / "image.jpg", quality=100)
    assert np.allclose(read_image_file(tmp_path / "image.jpg"), pixels / 255, atol=3 / 255)


def test_colours_become_luminance(tmp_path: Path) -> None:
    pixels = noise(np.uint8, 20, 30, 3)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) / 255  # ITU-R 601-2
    assert np.allclose(read_image_file(tmp_path / "image.png"), luminance, atol=1 / 255)


# How EXIF 2.32, section 4.6.4, says that stored rows and columns lie in the picture.
SHOWN: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("a.png", np.uint8),
        ("a.png", np.uint16),
        ("a.jpg", np.uint8),
        ("plain.tif", np.uint8),
        ("plain.tif", np.uint16),
        ("zlib.tif", np.uint8),
        ("zlib.tif", np.uint16),
    ],
)
def test_images_are_turned_as_their_orientation_says(
    name: str, dtype: type[np.uint8 | np.uint16], orientation: int, tmp_path: Path
) -> None:
    pixels = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((16, 16), int)) * (np.iinfo(dtype).max // 12)
    pixels = pixels.astype(dtype)
    path = tmp_path / name
    if name.endswith(".tif"):
        tifffile.imwrite(
            path,
            pixels,
            photometric="minisblack",
            compression=None if name == "plain.tif" else "zlib",
            extratags=[(274, 3, 1, orientation, True)],
        )
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(pixels).save(path, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    image = read_image_file(path)
    expected = SHOWN[orientation](pixels) / np.iinfo(dtype).max
    np.testing.assert_allclose(image, expected, rtol=0, atol=0.03 if name == "a.jpg" else 1e-6)
    if name == "a.jpg":
        np.testing.assert_allclose(read_jpeg(path) / 255, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_transparent_pixels_are_as_on_black(mode: str, tmp_path: Path) -> None:
    grey = np.full((4, 6), 200, np.uint8)
    alpha = np.zeros((4, 6), np.uint8)
    alpha[:, 3:] = 255
    image = Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    options: dict[str, Any] = {}
    if mode in ("L", "RGB", "P"):
        grey = np.where(alpha > 0, 200, 255).astype(np.uint8)
        image = Image.fromarray(grey).convert(mode)
        options["transparency"] = (255, 255, 255) if mode == "RGB" else 255
    else:
        image = image.convert(mode)
    name = "a.tif" if mode == "PA" else "a.png"
    image.save(tmp_path / name, **options)
    np.testing.assert_allclose(
        read_image_file(tmp_path / name), np.where(alpha > 0, 200 / 255, 0), rtol=0, atol=1 / 255
    )


def test_white_is_what_a_tiff_declares(tmp_path: Path) -> None:
    pixels = noise(np.uint16, 20, 30) // 16
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(281, 3, 1, 4095, True)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image_file(tmp_path / "a.tif")
    np.testing.assert_allclose(image, pixels / 4095, rtol=1e-6)
    for name in ("b.png", "b.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.warns(UserWarning, match=rf"b\{name[1:]}' has no value above \d+ in 16 bits"):
            np.testing.assert_allclose(read_image_file(tmp_path / name), pixels / 65535, rtol=1e-6)


@pytest.mark.parametrize(
    ("declared", "white"),
    [(4095, 4095), (8191, 8191), (65535, 65535), (5000, None), (2047, None), (0, None), (1, None)],
)
def test_a_declared_white_is_believed_if_it_can_be_one(
    declared: int, white: int | None, tmp_path: Path
) -> None:
    pixels = noise(np.uint16, 20, 30) // 16  # up to 4095
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(281, 3, 1, declared, True)])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        image = read_image_file(tmp_path / "a.tif")
    np.testing.assert_allclose(image, pixels / (white or 65535), rtol=1e-6)
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == (white is None)
    assert all(f"a.tif' declares the largest value {declared}" in text for text in texts)


def tiff_by_hand(raw: bytes, width: int, height: int, bits: int, photometric: int) -> bytes:
    """A grey TIFF: header, the pixels, and a directory."""
    raw += bytes(len(raw) % 2)
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(raw))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + struct.pack("<H", len(tags)) + directory + bytes(4)
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_white_of_other_depths_of_tiff(bits: int, tmp_path: Path) -> None:
    pixels = noise(np.uint16, 7, 10) >> (16 - bits)
    ones = np.unpackbits(pixels.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    raw = b"".join(np.packbits(row).tobytes() for row in ones)
    (tmp_path / "a.tif").write_bytes(tiff_by_hand(raw, 10, 7, bits, photometric=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image_file(tmp_path / "a.tif")
    np.testing.assert_allclose(image, pixels / (2**bits - 1), rtol=0, atol=1e-6)


def test_colours_of_16_bits_in_tiff_are_read_at_8_or_told(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", noise(np.uint16, 20, 30, 3)
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) / 65535
    tifffile.imwrite(path, pixels, photometric="rgb")
    np.testing.assert_allclose(read_image_file(path), luminance, rtol=0, atol=2 / 255)
    tifffile.imwrite(path, pixels // 16, photometric="rgb")
    with pytest.warns(UserWarning, match=r"a\.tif' has no value above \d+ in 16 bits"):
        read_image_file(path)
    tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match=r"a\.tif' holds 16-bit colours in planes"):
        read_image_file(path)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_inks_become_luminance(name: str, tmp_path: Path) -> None:
    # Large areas of one colour, which a JPEG keeps.
    inks = np.kron(noise(np.uint8, 3, 4, 1), np.ones((16, 16, 1))).astype(np.uint8)
    inks = np.dstack([inks, inks // 2, 255 - inks, inks // 3])
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, inks, photometric="separated")
    else:
        Image.fromarray(inks, mode="CMYK").save(tmp_path / name, quality=100)
    paper = (255 - inks.astype(float)) / 255
    colours = paper[..., :3] * paper[..., 3:]
    expected = colours @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(read_image_file(tmp_path / name), expected, rtol=0, atol=0.03)
    if name == "a.jpg":
        np.testing.assert_allclose(read_jpeg(tmp_path / name) / 255, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_white_is_zero_is_inverted(dtype: type[np.uint8 | np.uint16], tmp_path: Path) -> None:
    pixels = noise(dtype, 4, 5)
    stored = (np.iinfo(dtype).max - pixels).astype(f"<u{pixels.itemsize}")
    data = tiff_by_hand(stored.tobytes(), 5, 4, 8 * pixels.itemsize, photometric=0)
    (tmp_path / "image.tif").write_bytes(data)
    expected = pixels / np.iinfo(dtype).max
    assert np.allclose(read_image_file(tmp_path / "image.tif"), expected, atol=1e-6)


def test_of_several_pages_the_first_is_read(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (51, 255)]
    for name in ("pages.tif", "pages.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert np.allclose(read_image_file(tmp_path / name), 0.2)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and has no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((13, chunk), (0, b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", length) + data + struct.pack(">I", zlib.crc32(data)) for length, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a readable image"),
        (b"hello", "is not a readable image"),
        (png_header(5, 4), "is not a readable image"),
        (png_header(0, 4), "is not a readable image"),
        (png_header(6_001, 10_000), "has 6001 x 10000 pixels, more than 60000000"),
        (png_header(2**31 - 1, 2**31 - 1), "has more than 60000000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "is not a readable image"),
    ],
    ids=["empty", "text", "no pixels", "no columns", "large", "bomb", "a program"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_image_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_image_file(path)
    assert str(path) in str(caught.value)


def test_other_formats_are_refused_whatever_their_name(tmp_path: Path) -> None:
    Image.fromarray(noise(np.uint8, 4, 5)).save(tmp_path / "image.png", format="BMP")
    with pytest.raises(UserError, match="is not a readable image"):
        read_image_file(tmp_path / "image.png")


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.zeros((4, 5), dtype)).save(tmp_path / "image.tif")
        with pytest.raises(UserError, match="whose white is unknown"):
            read_image_file(tmp_path / "image.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_truncated_files_are_told(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(noise(np.uint8, 60, 50)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="is not a readable image"):
        read_image_file(path)


@given(
    suffix=st.sampled_from([".png", ".jpg", ".tif"]),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    ),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_read_or_are_told(
    suffix: str, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(noise(np.uint8, 12, 10)).save(path)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[int(position * len(data))] = value
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_image_file(path)
        except UserError as error:
            told, image = str(error), np.zeros((1, 1), np.float32)
        else:
            told = str(path)
    assert str(path) in told
    assert image.ndim == 2
    assert 0 <= image.min() <= image.max() <= 1


def test_what_is_not_there_or_ends_in_its_header_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image '.*x\.png'"):
        read_image_file(tmp_path / "x.png")
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    with pytest.raises(UserError, match=r"IM0001' is (not a readable DICOM image|DICOM without pixel data)"):
        read_image_file(tmp_path / "IM0001")


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs Linux")
def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    unreadable = tmp_path / "notes"
    unreadable.symlink_to("/proc/self/mem")  # whose first byte nobody can read, the superuser included
    with pytest.raises(UserError, match=r"notes' is not a readable image"):
        read_image_file(unreadable)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_white_that_the_file_does_not_tell_is_given(suffix: str, tmp_path: Path) -> None:
    pixels = np.linspace(0, 1023, 40).astype(np.uint16).reshape(5, 8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    assert largest_undeclared(path) == 1023
    np.testing.assert_array_equal(
        read_image_file(path, PixelSettings(white=1023)), pixels.astype(np.float32) / np.float32(1023)
    )
    with pytest.raises(UserError, match="has the value 1023, above white=511"):
        read_image_file(path, PixelSettings(white=511))
    Image.fromarray((pixels // 4).astype(np.uint8)).save(path)
    assert largest_undeclared(path) is None
    assert read_image_file(path, PixelSettings(white=1023)).max() == 1


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "dcm"])
def test_bytes_in_memory_read_as_the_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "dcm":
        path.write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    else:
        Image.fromarray(np.linspace(0, 255, 70).astype(np.uint8).reshape(7, 10)).save(path)
    member = FileInMemory(f"exam.zip:{path.name}", path.read_bytes())
    np.testing.assert_array_equal(read_image_file(member), read_image_file(path))
    with pytest.raises(UserError, match=rf"'exam\.zip:a\.{kind}' is not a readable"):
        read_image_file(FileInMemory(member.name, member.content[:60]))
