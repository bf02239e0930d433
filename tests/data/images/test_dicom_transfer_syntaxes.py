"""DICOM in every transfer syntax that mammograms come in reads as the same image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lossless_jpeg import encode_lossless_jpeg
from modise_lightning.data.images.dicom import read_dicom
from vindr_mammo_download import breast, make_dicom, windowed, write_dicom

MAXIMUM_PIXELS = 1_000_000


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("MR_small_implicit.dcm", ImplicitVRLittleEndian),
        ("MR_small_bigendian.dcm", ExplicitVRBigEndian),
        ("MR_small_RLE.dcm", RLELossless),
        ("MR_small_jp2klossless.dcm", JPEG2000Lossless),
        ("MR_small_jpeg_ls_lossless.dcm", JPEGLSLossless),
    ],
)
def test_files_of_other_encoders_read_as_their_uncompressed_one(name: str, syntax: UID) -> None:
    """One image that pydicom's authors hand out in several transfer syntaxes."""
    plain, other = (get_testdata_file(file, download=False) for file in ("MR_small.dcm", name))
    assert pydicom.dcmread(other).file_meta.TransferSyntaxUID == syntax
    expected = read_dicom(Path(str(plain)), MAXIMUM_PIXELS)
    assert expected.std() > 0.1
    np.testing.assert_array_equal(read_dicom(Path(str(other)), MAXIMUM_PIXELS), expected)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian]
)
def test_uncompressed_ones_read_as_written(syntax: UID, tmp_path: Path) -> None:
    stored = breast([(40, 50, 15)], 0)
    dataset = make_dicom(stored)
    dataset.file_meta.TransferSyntaxUID = syntax
    write_dicom(tmp_path / "image.dicom", dataset)
    assert np.abs(read_dicom(tmp_path / "image.dicom", MAXIMUM_PIXELS) - windowed(stored)).max() < 1e-6


@pytest.mark.parametrize("precision", [12, 14, 16])
@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_lossless_jpeg_reads_as_written(syntax: UID, precision: int, tmp_path: Path) -> None:
    scale = 2 ** (precision - 12)
    stored = breast([(40, 50, 15)], 0) * np.uint16(scale)
    stored[:2, :2] = [[0, 2**precision - 1], [2**precision - 1, 0]]
    window = {"WindowCenter": 2000 * scale, "WindowWidth": 3000 * scale}
    dataset = make_dicom(stored, BitsStored=precision, HighBit=precision - 1, **window)
    write_dicom(tmp_path / "plain.dicom", dataset)
    dataset.PixelData = encapsulate([encode_lossless_jpeg(stored, precision)])
    dataset.file_meta.TransferSyntaxUID = syntax
    write_dicom(tmp_path / "image.dicom", dataset)
    plain, image = (read_dicom(tmp_path / f"{name}.dicom", MAXIMUM_PIXELS) for name in ("plain", "image"))
    assert plain.std() > 0.1
    np.testing.assert_array_equal(image, plain)


def test_lossy_jpeg_of_8_bits_reads_nearly_as_written(tmp_path: Path) -> None:
    rows, columns = np.indices((96, 64))
    stored = (128 + 100 * np.sin(rows / 15) * np.cos(columns / 12)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG", quality=95)
    dataset = make_dicom(
        stored, PixelData=encapsulate([stream.getvalue()]), WindowCenter=128, WindowWidth=256
    )
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    write_dicom(tmp_path / "image.dicom", dataset)
    assert np.abs(read_dicom(tmp_path / "image.dicom", MAXIMUM_PIXELS) - stored / 255).max() < 0.03


def test_lossy_jpeg_of_12_bits_reads_as_its_jpeg_2000() -> None:
    """A bone scan that pydicom's authors hand out in both."""
    paths = [
        Path(str(get_testdata_file(name, download=False))) for name in ("JPGExtended.dcm", "JPEG2000.dcm")
    ]
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    extended, jpeg_2000 = (read_dicom(path, MAXIMUM_PIXELS) for path in paths)
    assert np.corrcoef(extended.ravel(), jpeg_2000.ravel())[0, 1] > 0.94  # both lost something
