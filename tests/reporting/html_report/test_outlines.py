"""Outlines enclose the pixels of their masks."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from modise_lightning.reporting.html_report.outlines import outline_path


def fill(path: str, width: int, height: int, oversampling: int = 8) -> NDArray[np.bool_]:
    """Fill a path by the even-odd rule, at more pixels than the picture has."""
    canvas = np.zeros((height * oversampling, width * oversampling), dtype=np.uint8)
    for part in path.split("Z")[:-1]:
        numbers = [float(value) for value in re.findall(r"-?[\d.]+", part)]
        own = np.zeros_like(canvas)
        points = np.array(numbers).reshape(-1, 2) * oversampling - 0.5
        cv2.fillPoly(own, [np.round(points).astype(np.int32)], 1)
        canvas ^= own
    return canvas.astype(bool)


def overlap(mask: NDArray[np.bool_], path: str, width: int, height: int) -> float:
    filled = fill(path, width, height)
    expected = cv2.resize(mask.astype(np.uint8), filled.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(
        bool
    )
    return float((filled & expected).sum() / (filled | expected).sum())


def blobs(seed: int) -> NDArray[np.bool_]:
    noise = np.random.default_rng(seed).normal(size=(80, 60))
    return np.asarray(ndimage.gaussian_filter(noise, 5, mode="wrap") > 0.03)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("width", "height"), [(60, 80), (30, 40), (90, 120)])
def test_it_encloses_the_mask_at_any_size(seed: int, width: int, height: int) -> None:
    mask = blobs(seed)
    assert overlap(mask, outline_path(mask, width, height), width, height) > 0.9


def test_holes_and_borders_are_kept() -> None:
    mask = np.ones((40, 40), dtype=bool)
    mask[10:30, 10:30] = False
    path = outline_path(mask, 40, 40)
    assert path.count("M") == path.count("Z") == 2
    assert overlap(mask, path, 40, 40) > 0.98


def test_a_single_pixel_is_seen_where_it_is() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[5, 7] = True
    numbers = np.array(re.findall(r"[\d.]+", outline_path(mask, 300, 200)), dtype=float).reshape(-1, 2)
    assert numbers.mean(0).tolist() == pytest.approx([75, 55])


def test_an_empty_mask_has_none() -> None:
    assert outline_path(np.zeros((5, 5), dtype=bool), 5, 5) == ""
