"""Reliability and calibration error against torchmetrics, scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from modise_lightning.metrics.curves.calibration import measure_reliability


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchmetrics_and_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.random(300) ** 2
    correct = generator.random(300) < scores**1.5
    found = measure_reliability(scores, correct, num_bins=10, confidence=0.95)
    expected = binary_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(correct).long(), n_bins=10, norm="l1"
    )
    assert found.error == pytest.approx(float(expected), abs=1e-6)
    accuracy, mean_score = calibration_curve(correct, scores, n_bins=10, strategy="uniform")
    filled = found.counts > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.mean_score[filled], mean_score)


def test_by_hand() -> None:
    """0.1 and 0.2, one correct: |0.5 - 0.15|; 0.5 and 1.0 correct: |1 - 0.75|; their mean is 0.3."""
    scores, correct = np.array([0.1, 0.5, 1.0, 0.2]), np.array([True, True, True, False])
    found = measure_reliability(scores, correct, num_bins=2, confidence=0.95)
    assert found.counts.tolist() == [2, 2]
    assert found.error == pytest.approx(0.3)
    # Wilson's interval of one in two: centre 0.5, half width z sqrt(2 + z^2) / (2 (2 + z^2)) (n = 2).
    z = 1.959964
    half = z * np.sqrt(2 + z**2) / (2 * (2 + z**2))
    assert found.low[0] == pytest.approx(0.5 - half, abs=1e-5)
    assert found.high[0] == pytest.approx(0.5 + half, abs=1e-5)


def test_empty_bins_are_undefined() -> None:
    found = measure_reliability(np.array([0.9]), np.array([True]), num_bins=2, confidence=0.9)
    assert np.isnan([found.accuracy[0], found.mean_score[0], found.low[0], found.high[0]]).all()
    assert found.error == pytest.approx(0.1)
    nothing = measure_reliability(np.array([]), np.array([], bool), num_bins=2, confidence=0.9)
    assert np.isnan(nothing.error)
    assert nothing.counts.tolist() == [0, 0]
