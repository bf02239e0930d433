"""The contrast of a film is that of its breast, whatever lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from modise_lightning.data.images.dicom import read_dicom
from modise_lightning.data.images.film import film_window
from modise_lightning.data.images.reading import read_image_file

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "cdd_cesm_512"
LOW_ENERGY = REAL / "Low energy images of CDD-CESM"


def breast(height: int, width: int, seed: int) -> NDArray[np.float64]:
    """Draw tissue from 0.3 to 0.6 on air of 0.1, with noise; 1 would be white."""
    rows, columns = np.indices((height, width))
    inside = np.hypot((rows - height / 2) / (0.42 * height), columns / (0.62 * width)) < 1
    tissue = 0.3 + 0.3 * np.hypot((rows - height / 2) / height, (columns - width / 4) / width).clip(0, 1)
    noise = np.random.default_rng(seed).normal(0, 0.005, (height, width))
    return np.asarray(np.where(inside, tissue, 0.1) + noise)


def add_what_is_no_breast(film: NDArray[np.float64], border: int, seed: int) -> NDArray[np.float64]:
    """Add a white border, a black frame, a label with text in a corner and a strip of tape to the edge."""
    generator = np.random.default_rng(seed)
    height, width = film.shape
    film = film.copy()
    film[: height // 40], film[:, : width // 60] = 0, 0
    side = slice(None, border) if generator.random() < 0.5 else slice(-border, None)
    if border:
        film[side] = 1
    top, left = height // 25, width - width // 5
    film[top : top + height // 10, left : width - width // 50] = generator.uniform(0.96, 1, (1, 1))
    film[top + height // 40 : top + height // 20, left + width // 30 : width - width // 15] = 0.2
    middle = height // 2
    film[middle : middle + height // 30, int(0.6 * width) :] = 0.9
    return film


@settings(max_examples=30, deadline=None)
@given(
    size=st.tuples(st.integers(300, 900), st.integers(250, 600)),
    border=st.integers(0, 25),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1.0, 255.0, 65535.0]),
)
def test_labels_tape_and_borders_do_not_decide(
    size: tuple[int, int], border: int, seed: int, scale: float
) -> None:
    clean = breast(*size, seed)
    low, high = film_window(scale * add_what_is_no_breast(clean, border, seed)) or (np.nan, np.nan)
    expected = film_window(scale * clean)
    assert expected is not None
    assert abs(low - expected[0]) < 0.03 * scale
    assert abs(high - expected[1]) < 0.03 * scale
    # The tissue was drawn from 0.3 to 0.6.
    assert 0.1 * scale < low < 0.35 * scale
    assert 0.4 * scale < high < 0.63 * scale


@pytest.mark.parametrize(
    "film",
    [
        np.zeros((40, 30)),
        np.ones((400, 300)),
        np.eye(50),
        np.array([[3.0]]),
        np.random.default_rng(0).random((300, 200)),
        np.tile([0.0, 1.0], (80, 40)),
    ],
    ids=["black", "white", "diagonal", "pixel", "noise", "stripes"],
)
def test_a_film_without_a_breast_is_told_or_has_a_sane_window(film: NDArray[np.float64]) -> None:
    window = film_window(film)
    assert window is None or (film.min() <= window[0] < window[1] <= film.max())


@pytest.mark.skipif(not LOW_ENERGY.is_dir(), reason="the real images are not here")
def test_real_breasts_keep_their_window_beside_labels_and_borders() -> None:
    paths = sorted(LOW_ENERGY.glob("*.jpg"))[::8]
    assert len(paths) > 25
    for number, path in enumerate(paths):
        shown = read_image_file(path).astype(np.float64)
        # As film: the optical density of fat is well above that of air, and air is noisy.
        film = 0.1 + 0.55 * np.sqrt(shown) * (shown > 0.02)
        film += np.random.default_rng(number).normal(0, 0.01, film.shape)
        clean, width = film_window(film), film.shape[1]
        empty = 10 if shown[:, : width // 2].sum() < shown[:, width // 2 :].sum() else width - 120
        film[20:70, empty : empty + 100] = 0.98
        film[30:60:10, empty + 10 : empty + 90] = 0.4
        film[:6] = 1
        film[:, :4], film[:, -4:] = 0, 0
        dirty = film_window(film)
        assert clean is not None
        assert dirty is not None
        # The brightest 5 % of a range are taken for paper, also where there is none.
        np.testing.assert_allclose(dirty, clean, atol=0.07, err_msg=path.name)


def dicom(path: Path, stored: NDArray[np.uint16], **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def test_dicom_without_a_window_takes_the_one_of_the_film(tmp_path: Path) -> None:
    film = add_what_is_no_breast(breast(400, 300, 1), 10, 1)
    stored = (film.clip(0, 1) * 65535).astype(np.uint16)
    low, high = film_window(stored.astype(np.float32)) or (0, 0)
    expected = ((stored.astype(np.float64) - low) / (high - low)).clip(0, 1)
    shown = read_dicom(dicom(tmp_path / "film.dcm", stored), 10**6, film_window)
    np.testing.assert_allclose(shown, expected, atol=1e-6)
    inverted = dicom(tmp_path / "inverted.dcm", 65535 - stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read_dicom(inverted, 10**6, film_window), expected, atol=1e-4)


def test_a_window_of_the_file_counts_and_without_a_breast_the_percentiles_do(tmp_path: Path) -> None:
    stored = (breast(400, 300, 1).clip(0, 1) * 65535).astype(np.uint16)
    path = dicom(tmp_path / "windowed.dcm", stored, WindowCenter=30000, WindowWidth=20000)
    np.testing.assert_array_equal(read_dicom(path, 10**6, film_window), read_dicom(path, 10**6))
    path = dicom(tmp_path / "plain.dcm", stored)
    np.testing.assert_array_equal(read_dicom(path, 10**6, lambda _: None), read_dicom(path, 10**6))
