"""What the sources write of breast, view and density is understood; what they do not say is left out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from modise_lightning.data.prepared.image_description import describe_image


@pytest.mark.parametrize(
    ("attributes", "described"),
    [
        # As CDD-CESM, VinDr-Mammo and the phantom are prepared.
        (
            {"laterality": "L", "view": "MLO", "modality": "subtracted", "birads": "5", "density": "b"},
            {"laterality": "left", "view": "MLO", "modality": "subtracted", "density": "B"},
        ),
        (
            {"laterality": "R", "view": "CC", "breast_density": "DENSITY C", "split": "test"},
            {"laterality": "right", "view": "CC", "density": "C"},
        ),
        ({"laterality": " right ", "view": "cc"}, {"laterality": "right", "view": "CC"}),
        ({"laterality": "both", "view": "", "density": " "}, {}),
        ({"laterality": 1, "study_id": 7}, {"study_id": "7"}),
        ({"row_spacing_mm": 0.07, "column_spacing_mm": 0.08}, {"spacing_mm": (0.07, 0.08)}),
        ({"row_spacing_mm": 0.07}, {}),
        ({"row_spacing_mm": 0, "column_spacing_mm": 0.08}, {}),
        ({"row_spacing_mm": math.nan, "column_spacing_mm": 0.08}, {}),
        ({"row_spacing_mm": "0.07", "column_spacing_mm": 0.08}, {}),
        ({"normal": 1}, {"normal": True}),
        ({"normal": 0}, {"normal": False}),
        ({"normal": "no"}, {}),
        ({}, {}),
    ],
)
def test_attributes_are_understood(attributes: dict[str, Any], described: dict[str, Any]) -> None:
    assert describe_image(attributes) == described
