"""Colours of pictures, against Pillow's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modise_lightning.data.images.colours import read_colours
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.errors import UserError

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_stay(tmp_path: Path, suffix: str, mode: str) -> None:
    picture = (
        Image.fromarray(COLOURS).quantize(256).convert("RGB") if mode == "P" else Image.fromarray(COLOURS)
    )
    path = tmp_path / f"a{suffix}"
    picture.convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    found = read_colours(path)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_transparent_pixels_are_black_and_turned_pictures_upright(tmp_path: Path) -> None:
    half = np.concatenate([COLOURS, np.zeros((5, 7, 1), np.uint8)], axis=-1)
    Image.fromarray(half).save(tmp_path / "clear.png")
    assert not read_colours(tmp_path / "clear.png").any()
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_allclose(read_colours(tmp_path / "turned.png"), np.rot90(COLOURS, -1) / 255, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_pictures_are_repeated(tmp_path: Path, bits: int) -> None:
    grey = COLOURS[..., 0] if bits == 8 else COLOURS[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    found = read_colours(tmp_path / "grey.png")
    assert found.shape == (5, 7, 3)
    for channel in range(3):
        assert np.array_equal(found[..., channel], read_image_file(tmp_path / "grey.png"))


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(UserError, match="no image"):
        read_colours(path)
    Image.fromarray(COLOURS).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="is not a readable image"):
        read_colours(path)
