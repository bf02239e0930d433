"""Precision at recall points, by hand."""

import numpy as np

from modise_lightning.metrics.curves.precision_recall import RECALLS, precision_at_recalls


def test_by_hand() -> None:
    """Right, wrong, right, right of 4: precision 1, 1/2, 2/3, 3/4 at recall 1/4, 1/4, 2/4, 3/4."""
    scores, correct = np.array([0.2, 0.9, 0.4, 0.8]), np.array([True, True, True, False])
    found = precision_at_recalls(scores, correct, 4)
    expected = np.where(RECALLS <= 0.25, 1.0, np.where(RECALLS <= 0.75, 0.75, 0.0))
    np.testing.assert_array_equal(found, expected)


def test_of_equal_scores_the_earlier_ranks_higher() -> None:
    scores = np.array([0.5, 0.5])
    assert precision_at_recalls(scores, np.array([True, False]), 1).tolist() == [1.0] * 101
    assert precision_at_recalls(scores, np.array([False, True]), 1).tolist() == [0.5] * 101


def test_without_truth_it_is_undefined_and_without_detections_zero() -> None:
    nothing = np.array([])
    assert np.isnan(precision_at_recalls(nothing, nothing.astype(bool), 0)).all()
    assert (precision_at_recalls(nothing, nothing.astype(bool), 2) == 0).all()
