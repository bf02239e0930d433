"""DICOM reads as it is displayed: rescaled, windowed, MONOCHROME1 inverted, padding black."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from modise_lightning.data.images.dicom import read_dicom
from modise_lightning.data.images.image_file import PixelSettings
from modise_lightning.data.images.reading import MAXIMUM_PIXELS, read_image_file
from modise_lightning.errors import UserError

STORED = np.arange(0, 4096, 13, dtype=np.uint16)[:300].reshape(15, 20)  # 12 bits in 16


def make(stored: NDArray[Any] = STORED, **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def read(dataset: Dataset, tmp_path: Path) -> NDArray[np.float32]:
    dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    return read_image_file(tmp_path / "image.dcm")


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("rescale", [(), (2.0, -100.0)])
def test_windows_agree_with_pydicom(function: str | None, rescale: tuple[float, ...], tmp_path: Path) -> None:
    dataset = make(WindowCenter=2000, WindowWidth=1500)
    slope, intercept = rescale or (1.0, 0.0)
    if rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    if function is not None:
        dataset.VOILUTFunction = function
    shown = apply_windowing(STORED * slope + intercept, dataset)
    black, white = intercept, 4095 * slope + intercept
    assert np.allclose(read(dataset, tmp_path), (shown - black) / (white - black), atol=1e-5)


def test_of_several_windows_the_first_counts(tmp_path: Path) -> None:
    several = read(make(WindowCenter=[1000, 3000, 500], WindowWidth=[800, 100, 50]), tmp_path)
    assert np.array_equal(several, read(make(WindowCenter=1000, WindowWidth=800), tmp_path))
    assert not np.array_equal(several, read(make(WindowCenter=3000, WindowWidth=100), tmp_path))


def test_ends_of_a_window_by_hand(tmp_path: Path) -> None:
    # DICOM PS3.3 C.11.2.1.2.1: black up to c - 0.5 - (w - 1) / 2, white above c - 0.5 + (w - 1) / 2.
    image = read(
        make(np.array([[99, 100, 150, 199, 200]], np.uint16), WindowCenter=150, WindowWidth=100), tmp_path
    )
    assert np.allclose(image, [[0, 0, 50 / 99, 1, 1]])
    step = read(make(np.array([[149, 150, 151]], np.uint16), WindowCenter=150, WindowWidth=1), tmp_path)
    assert step.tolist() == [[0, 1, 1]]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 1500}
    inverted = read(make(PhotometricInterpretation="MONOCHROME1", **window), tmp_path)
    assert np.allclose(inverted, 1 - read(make(**window), tmp_path))


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_move_the_percentiles(interpretation: str, tmp_path: Path) -> None:
    stored = STORED + np.uint16(100)
    plain = read(make(stored[:, 5:], PhotometricInterpretation=interpretation), tmp_path)
    padded = stored.copy()
    padded[:, :5] = 4095 if interpretation == "MONOCHROME2" else 0
    dataset = make(padded, PhotometricInterpretation=interpretation, PixelPaddingValue=int(padded[0, 0]))
    image = read(dataset, tmp_path)
    assert not image[:, :5].any()
    assert np.array_equal(image[:, 5:], plain)
    dataset = make(PixelPaddingValue=0, PixelPaddingRangeLimit=1300, WindowCenter=2000, WindowWidth=4000)
    assert np.array_equal(read(dataset, tmp_path) == 0, STORED <= 1300)


def test_without_a_window_percentiles_span_the_range(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(500, 1500, (100, 100)).astype(np.uint16)
    stored[0, :10] = 4095  # a marker
    image = read(make(stored), tmp_path)
    low, high = np.percentile(stored, [0.5, 99.5])
    assert np.allclose(image, ((stored - low) / (high - low)).clip(0, 1), atol=1e-6)


def test_a_lookup_table_stands_in_for_a_window(tmp_path: Path) -> None:
    table = (4095 * np.linspace(0, 1, 4096) ** 2).astype(np.uint16)
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = table.tobytes()
    item["LUTData"].VR = "OW"
    dataset = make(VOILUTSequence=[item])
    assert np.allclose(read(dataset, tmp_path), table[STORED] / 4095, atol=1e-6)
    dataset.WindowCenter, dataset.WindowWidth = 2000, 1500
    assert np.array_equal(read(dataset, tmp_path), read(make(WindowCenter=2000, WindowWidth=1500), tmp_path))


@pytest.mark.parametrize(("declared", "needed"), [(16, 12), (12, 12), (12, 16), (8, 8), (16, 16)])
def test_the_white_of_a_lookup_table_is_what_its_data_need(
    declared: int, needed: int, tmp_path: Path
) -> None:
    white = 2**needed - 1
    table = np.linspace(0, white, 4096).astype(np.uint16)
    item = Dataset()
    item.LUTDescriptor = [4096, 0, declared]
    item.LUTData = table.tobytes()
    item["LUTData"].VR = "OW"
    assert np.allclose(read(make(VOILUTSequence=[item]), tmp_path), table[STORED] / white, atol=1e-6)


def test_a_lookup_table_of_bytes_and_a_shifted_one(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor = [256, 1000, 8]
    item.LUTData = np.arange(256, dtype=np.uint8).tobytes()
    item["LUTData"].VR = "OW"
    expected = (STORED.astype(int) - 1000).clip(0, 255) / 255
    assert np.allclose(read(make(VOILUTSequence=[item]), tmp_path), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RescaleSlope": "nan", "RescaleIntercept": 0}, "RescaleSlope|not a readable"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope 0"),
        ({"RescaleSlope": "inf", "RescaleIntercept": 0}, "RescaleSlope|not a readable"),
        ({"RescaleSlope": 1, "RescaleIntercept": "inf"}, "RescaleIntercept|not a readable"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "3 samples a pixel"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of values that it would not write
def test_what_leaves_no_picture_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
    with pytest.raises(UserError, match=message) as told:
        read(make(**changes), tmp_path)
    assert "\n" not in str(told.value)


def test_raw_detector_values_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="FOR PROCESSING"):
        read(make(PresentationIntentType="FOR PROCESSING"), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(make(PresentationIntentType="FOR PRESENTATION"), tmp_path)


def test_signed_and_constant_pixels(tmp_path: Path) -> None:
    stored = np.array([[-5, 0, 5]], np.int16)
    dataset = make(stored, PixelRepresentation=1, WindowCenter=0.5, WindowWidth=11)
    assert np.allclose(read(dataset, tmp_path), [[0, 0.5, 1]])
    assert not read(make(np.full((4, 5), 7, np.uint16)), tmp_path).any()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_read(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    plain = read(make(stored), tmp_path)
    dataset = make(stored)
    dataset.compress(syntax)
    assert np.array_equal(read(dataset, tmp_path), plain)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"NumberOfFrames": 3}, r"has 3 frame\(s\) of MONOCHROME2"),
        ({"PhotometricInterpretation": "RGB"}, r"1 frame\(s\) of RGB"),
        ({"Rows": 60_000, "Columns": 60_000}, f"has 60000 x 60000 pixels, more than {MAXIMUM_PIXELS}"),
        ({"Rows": 0}, "has 0 x 20 pixels"),
        ({"Rows": 30}, "is not a readable DICOM image"),
        ({"Rows": None}, "is not a readable DICOM image"),
        ({"BitsAllocated": 7}, "is not a readable DICOM image"),
    ],
)
def test_what_cannot_be_shown_is_told(elements: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(make(**elements), tmp_path)
    assert "image.dcm" in str(caught.value)


@pytest.mark.parametrize("window", [b"abc ", b"nan ", b"inf "])
def test_a_window_that_is_no_number_is_told(window: bytes, tmp_path: Path) -> None:
    make(WindowCenter="7777", WindowWidth=10).save_as(tmp_path / "image.dcm", enforce_file_format=True)
    data = (tmp_path / "image.dcm").read_bytes()
    assert data.count(b"7777") == 1
    (tmp_path / "image.dcm").write_bytes(data.replace(b"7777", window))
    with pytest.raises(UserError, match="is not a readable DICOM image"):
        read_image_file(tmp_path / "image.dcm")


def test_other_files_are_told(tmp_path: Path) -> None:
    dataset = make()
    del dataset.PixelData
    with pytest.raises(UserError, match="without pixel data"):
        read(dataset, tmp_path)
    for data in (b"", b"hello", bytes(200)):
        (tmp_path / "image.dicom").write_bytes(data)
        with pytest.raises(UserError, match="is not a readable DICOM image"):
            read_image_file(tmp_path / "image.dicom")


@given(
    end=st.floats(0, 1),
    changes=st.lists(st.tuples(st.integers(0, 599), st.integers(0, 255)), max_size=4),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_read_or_are_told(end: float, changes: list[tuple[int, int]], tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    make(WindowCenter=2000, WindowWidth=1500).save_as(path, enforce_file_format=True)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[position] = value
    path.write_bytes(data[: max(1, int(end * len(data)))])
    try:
        image = read_image_file(path)
    except UserError as error:
        told, image = str(error), np.zeros((1, 1), np.float32)
    else:
        told = str(path)
    assert str(path) in told
    assert image.ndim == 2
    assert 0 <= image.min() <= image.max() <= 1


def test_a_deflated_file_is_read_unless_it_inflates_beyond_the_limit(tmp_path: Path) -> None:
    dataset = make()
    expected = read(dataset, tmp_path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert np.array_equal(read(dataset, tmp_path), expected)
    dataset.add_new(0x00091001, "OB", bytes(20_000_000))
    path = tmp_path / "large.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="inflates to more than 18777216 bytes"):
        read_dicom(path, 1_000_000)


@pytest.mark.parametrize(
    ("interpretation", "shape", "is_inverted", "contradicts"),
    [
        ("MONOCHROME2", None, False, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME2", "INVERSE", True, True),
        ("MONOCHROME1", None, True, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME1", "IDENTITY", True, True),
    ],
)
def test_a_presentation_table_that_inverts_does_so_once(
    interpretation: str, shape: str | None, is_inverted: bool, contradicts: bool, tmp_path: Path
) -> None:
    dataset = make(PhotometricInterpretation=interpretation, WindowCenter=2000, WindowWidth=1500)
    if shape is not None:
        dataset.PresentationLUTShape = shape
    plain = read(make(WindowCenter=2000, WindowWidth=1500), tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        image = read(dataset, tmp_path)
    assert np.allclose(image, 1 - plain if is_inverted else plain)
    assert any("contradict" in str(warning.message) for warning in told) == contradicts


def test_raw_detector_values_are_refused_or_converted(tmp_path: Path) -> None:
    # Intensities behind 0 to 5 units of attenuation, as Beer and Lambert have it.
    attenuated = np.linspace(0, 5, 300).reshape(15, 20)
    intensity = np.rint(60_000 * np.exp(-attenuated)).astype(np.uint16)
    logarithm = np.rint(4000 - 800 * attenuated).astype(np.uint16)
    expected = (
        (attenuated - np.percentile(attenuated, 0.5)) / np.ptp(np.percentile(attenuated, [0.5, 99.5]))
    ).clip(0, 1)
    path = tmp_path / "image.dcm"
    for stored, relationship, sign in (
        (intensity, "LIN", 1),
        (logarithm, "LOG", 1),
        (4000 - logarithm, "LOG", -1),
    ):
        dataset = make(
            stored,
            PresentationIntentType="FOR PROCESSING",
            BitsStored=16,
            HighBit=15,
            PixelIntensityRelationship=relationship,
            PixelIntensityRelationshipSign=sign,
        )
        dataset.save_as(path, enforce_file_format=True)
        with pytest.raises(UserError, match=r"image\.dcm' is FOR PROCESSING.*for_processing=convert"):
            read_image_file(path, PixelSettings(for_processing="refuse"))
        converted = read_image_file(path, PixelSettings(for_processing="convert"))
        assert np.allclose(converted, expected, atol=2e-3)
        del dataset.PixelIntensityRelationship
        dataset.save_as(path, enforce_file_format=True)
        with pytest.raises(UserError, match="PixelIntensityRelationship is missing"):
            read_image_file(path, PixelSettings(for_processing="convert"))


def test_a_frame_of_several_is_refused_or_chosen(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    frames = np.stack([STORED, STORED[::-1], STORED // 2])
    dataset = make(WindowCenter=2000, WindowWidth=1500)
    dataset.NumberOfFrames, dataset.PixelData = 3, frames.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(UserError, match=r"has 3 frame\(s\) of MONOCHROME2.*frame=1 to 3"):
        read_image_file(path)
    for number, frame in enumerate(frames, start=1):
        chosen = read_image_file(path, PixelSettings(frame=number))
        assert np.array_equal(chosen, read(make(frame, WindowCenter=2000, WindowWidth=1500), tmp_path))
        dataset.save_as(path, enforce_file_format=True)
    for number in (0, 4):
        with pytest.raises(UserError, match=f"frames 1 to 3; frame={number} is none"):
            read_image_file(path, PixelSettings(frame=number))


def test_a_frames_own_groups_say_how_it_is_displayed(tmp_path: Path) -> None:
    def group(name: str, **elements: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in elements.items():
            setattr(inner, key, value)
        setattr(outer, name, [inner])
        return outer

    path = tmp_path / "image.dcm"
    dataset = make()
    dataset.NumberOfFrames, dataset.PixelData = 2, np.stack([STORED, STORED]).tobytes()
    dataset.SharedFunctionalGroupsSequence = [
        group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-100)
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        group("FrameVOILUTSequence", WindowCenter=3000, WindowWidth=1000),
        group("FrameVOILUTSequence", WindowCenter=5000, WindowWidth=2000),
    ]
    dataset.save_as(path, enforce_file_format=True)
    second = read_image_file(path, PixelSettings(frame=2))
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -100}
    assert np.array_equal(second, read(make(WindowCenter=5000, WindowWidth=2000, **rescale), tmp_path))
