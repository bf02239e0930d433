"""Lesions are measured as by hand and by brute force, in pixels and in millimetres."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from modise_lightning.prediction.lesions import LesionSettings, diameters, find_lesions, measure_lesion
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation, Prediction

MASS = Category("mass", ("mass",), True, (1, 2, 3))
TISSUE = Category("tissue", ("tissue",), False, (4, 5, 6))


def brute_force(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    corners = np.array(
        [
            ((column + right) * spacing[1], (row + down) * spacing[0])
            for row, column in zip(rows, columns, strict=True)
            for right in (0, 1)
            for down in (0, 1)
        ]
    )
    longest = max(float(np.linalg.norm(corners - corner, axis=1).max()) for corner in corners)
    angles = np.linspace(0, np.pi, 20_001)
    across = corners @ np.stack([np.cos(angles), np.sin(angles)])
    return longest, float(np.ptp(across, axis=0).min())


@given(
    arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any),
    st.sampled_from([(1.0, 1.0), (0.1, 0.07), (0.5, 2.0)]),
)
@settings(max_examples=60, deadline=None)
def test_diameters_are_those_of_brute_force(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> None:
    longest, shortest = diameters(mask, spacing)
    expected = brute_force(mask, spacing)
    assert longest == pytest.approx(expected[0])
    # The least width lies between the angles that were tried.
    assert shortest <= expected[1] + 1e-9
    assert shortest == pytest.approx(expected[1], rel=2e-3)


def prediction() -> Prediction:
    ids = torch.zeros(20, 30, dtype=torch.int64)
    ids[2:6, 10:20], ids[10:12, 3:5], ids[15:, :] = 1, 2, 3
    panoptic = PanopticSegmentation(ids, torch.tensor([0, 0, 1]), torch.tensor([0.4, 0.9, 0.8]))
    masks = torch.stack([ids == 1, ids > 0])
    instances = InstanceSegmentation(masks, torch.tensor([0, 0]), torch.tensor([0.7, 0.2]))
    semantic = torch.zeros(2, 20, 30)
    semantic[0, 2:6, 10:15], semantic[0, 2:6, 15:20] = 0.5, 1.5
    return Prediction(panoptic, instances, semantic)


def test_a_lesion_by_hand() -> None:
    predicted = prediction()
    found = list(find_lesions(predicted, [MASS, TISSUE], LesionSettings("segments", 0.0, True)))
    assert [lesion.score for lesion in found] == pytest.approx([0.9, 0.4])
    measured = measure_lesion(found[1], predicted, [MASS, TISSUE], (0.5, 0.2))
    assert measured == {
        **{"class": "mass", "score": pytest.approx(0.4), "area": 40, "uncertainty": 0.5},
        **{"x": 10, "y": 2, "width": 10, "height": 4, "centroid_x": 15.0, "centroid_y": 4.0},
        **{"longest_diameter": pytest.approx(math.hypot(10, 4), abs=1e-3), "shortest_diameter": 4.0},
        **{"x_mm": 2.0, "y_mm": 1.0, "width_mm": 2.0, "height_mm": 2.0},
        **{"centroid_x_mm": 3.0, "centroid_y_mm": 2.0, "area_mm2": 4.0},
        **{"longest_diameter_mm": pytest.approx(math.hypot(2, 2), abs=1e-3), "shortest_diameter_mm": 2.0},
        "segmentation": measured["segmentation"],
    }
    assert "area_mm2" not in measure_lesion(found[1], predicted, [MASS, TISSUE], None)


def test_instances_are_lesions_if_they_are_asked_for() -> None:
    def scores(source: str, minimum: float) -> list[float]:
        settings_ = LesionSettings(source, minimum, False)  # type: ignore[arg-type]
        return [round(lesion.score, 3) for lesion in find_lesions(prediction(), [MASS, TISSUE], settings_)]

    assert scores("instances", 0.0) == [0.7, 0.2]
    assert scores("instances", 0.5) == [0.7]
    assert scores("segments", 0.5) == [0.9]
