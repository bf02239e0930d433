"""Areas and operating points of weighted cases: scikit-learn's, of repeated cases, and counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from modise_lightning.metrics.patients.weighted_ranking import OperatingPoints

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, number: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cases of both classes with many equal scores, and weights that are 0 for some of them."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, generator.integers(2, 12), number) / 11
    positive = generator.random(number) < generator.uniform(0.1, 0.9)
    positive[:2] = True, False
    weights = generator.integers(0, 4, (3, number)).astype(float)
    weights[:, :2] = 1
    return scores, positive, weights


def sensitivity_at(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray, specificity: float
) -> float:
    false, true, _ = roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    return float(true[false <= 1 - specificity + 1e-9].max())


@given(seed=SEEDS, limit=st.sampled_from([0.1, 0.25, 0.5, 0.99]))
@settings(deadline=None)
def test_equals_scikit_learn_with_weights(seed: int, limit: float) -> None:
    scores, positive, weights = draw(seed)
    points = OperatingPoints.of(scores, positive, weights)
    for row, own in enumerate(weights):
        expected = {
            "area": roc_auc_score(positive, scores, sample_weight=own),
            "low": roc_auc_score(positive, scores, sample_weight=own, max_fpr=limit),
            "high": roc_auc_score(~positive, -scores, sample_weight=own, max_fpr=limit),
            "precision": average_precision_score(positive, scores, sample_weight=own),
            "specific": sensitivity_at(scores, positive, own, 1 - limit),
        }
        found = {
            "area": points.roc_area()[row],
            "low": points.partial_area_at_low_rate(limit)[row],
            "high": points.partial_area_at_high_sensitivity(1 - limit)[row],
            "precision": points.precision_recall_area()[row],
            "specific": points.sensitivity_at_specificity(1 - limit)[row],
        }
        assert found == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS)
def test_the_area_is_the_share_of_pairs_in_the_right_order(seed: int) -> None:
    scores, positive, weights = draw(seed)
    area = OperatingPoints.of(scores, positive, weights).roc_area()
    for row, own in enumerate(weights):
        right = whole = 0.0
        for i in np.flatnonzero(positive):
            for j in np.flatnonzero(~positive):
                pair = own[i] * own[j]
                whole += pair
                right += pair * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
        assert area[row] == pytest.approx(right / whole)


@given(seed=SEEDS)
def test_a_weight_is_a_number_of_copies(seed: int) -> None:
    scores, positive, weights = draw(seed)
    points = OperatingPoints.of(scores, positive, weights)
    for row, own in enumerate(weights.astype(int)):
        repeated = OperatingPoints.of(
            np.repeat(scores, own), np.repeat(positive, own), np.ones((1, own.sum()))
        )
        assert points.roc_area()[row] == pytest.approx(repeated.roc_area()[0])
        assert points.precision_recall_area()[row] == pytest.approx(repeated.precision_recall_area()[0])


def test_by_hand() -> None:
    """Positive: 0.9, 0.6, 0.4; negative: 0.6, 0.2. Five of six pairs are right but for a tie and a swap."""
    scores = np.array([0.9, 0.6, 0.4, 0.6, 0.2])
    positive = np.array([True, True, True, False, False])
    points = OperatingPoints.of(scores, positive, np.ones((1, 5)))
    assert points.true.tolist() == [[0, 1, 2, 3, 3]]
    assert points.false.tolist() == [[0, 0, 1, 1, 2]]
    # Pairs of (0.9, 0.6, 0.4) with (0.6, 0.2): 1 + 1, 1/2 + 1, 0 + 1, of 6.
    assert points.roc_area()[0] == pytest.approx(4.5 / 6)
    # Steps of recall 1/3 at precisions 1/1, 2/3 and 3/4.
    assert points.precision_recall_area()[0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # Up to a rate of 0.5 the curve rises from 1/3 to 2/3; a trapezoid of 0.25 where chance has 0.125.
    assert points.partial_area_at_low_rate(0.5)[0] == pytest.approx((1 + (0.25 - 0.125) / 0.375) / 2)
    # Above a sensitivity of 0.9 half the negative cases pass: 0.1 times 0.5 where chance has 0.005.
    high = points.partial_area_at_high_sensitivity(0.9)[0]
    assert high == pytest.approx((1 + (0.05 - 0.005) / 0.095) / 2)
    assert points.sensitivity_at_specificity(0.5)[0] == 1
    assert points.sensitivity_at_specificity(0.51)[0] == pytest.approx(1 / 3)


def test_five_of_a_hundred_are_a_specificity_of_95_percent() -> None:
    """Whatever 1 - 0.95 rounds to."""
    scores = np.append(np.arange(100) / 100, 0.945)
    points = OperatingPoints.of(scores, np.arange(101) == 100, np.ones((1, 101)))
    assert points.sensitivity_at_specificity(0.95)[0] == 1
    assert points.sensitivity_at_specificity(0.951)[0] == 0


@pytest.mark.parametrize("positive", [True, False], ids=["only positive", "only negative"])
def test_one_class_has_no_area(positive: bool) -> None:
    points = OperatingPoints.of(np.array([0.2, 0.7]), np.array([positive] * 2), np.ones((1, 2)))
    assert np.isnan(points.roc_area()).all()
    assert np.isnan(points.partial_area_at_low_rate(0.1)).all()
    assert np.isnan(points.partial_area_at_high_sensitivity(0.9)).all()
    assert np.isnan(points.sensitivity_at_specificity(0.9)).all()
    # Precision and recall need no negative case.
    assert points.precision_recall_area()[0] == pytest.approx(1.0 if positive else np.nan, nan_ok=True)


def test_no_case_at_all() -> None:
    points = OperatingPoints.of(np.zeros(0), np.zeros(0, dtype=bool), np.ones((1, 0)))
    assert np.isnan(points.roc_area()).all()
    assert np.isnan(points.precision_recall_area()).all()


@pytest.mark.parametrize(
    ("scores", "area"), [([0.5] * 4, 0.5), ([0.9, 0.8, 0.2, 0.1], 1.0), ([0.1, 0.2, 0.8, 0.9], 0.0)]
)
def test_ties_are_chance_and_order_is_all(scores: list[float], area: float) -> None:
    positive = np.array([True, True, False, False])
    assert OperatingPoints.of(np.array(scores), positive, np.ones((1, 4))).roc_area()[0] == area
