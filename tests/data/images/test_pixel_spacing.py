"""A pixel's size is read as DICOM defines it, and nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from modise_lightning.data.images.pixel_spacing import pixel_spacing


@pytest.mark.filterwarnings("ignore")  # pydicom's, of values that no header should have
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, None),
        ({"PixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.07, 0.07]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.07, 0.08]}, (0.07, 0.08)),
        # A magnification view: half of the detector's pixel is seen in the breast.
        (
            {"ImagerPixelSpacing": [0.07, 0.08], "EstimatedRadiographicMagnificationFactor": 2},
            (0.035, 0.04),
        ),
        ({"ImagerPixelSpacing": [0.07, 0.08], "EstimatedRadiographicMagnificationFactor": 0}, (0.07, 0.08)),
        ({"PixelSpacing": [0, 0.2]}, None),
        ({"PixelSpacing": [-1, 0.2], "ImagerPixelSpacing": [0.07, 0.08]}, (0.07, 0.08)),
        ({"PixelSpacing": [0.1]}, None),
        ({"PixelSpacing": [0.1, 0.1, 0.1]}, None),
        ({"PixelSpacing": None}, None),
    ],
)
def test_a_pixel_has_the_size_that_the_file_says(
    header: dict[str, Any], expected: tuple[float, float] | None
) -> None:
    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    assert pixel_spacing(dataset) == (None if expected is None else pytest.approx(expected))
