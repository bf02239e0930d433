"""Repeat factors are LVIS's, and images come in proportion to them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.data.loading.repeat_factors import draw_in_proportion, repeat_factors


def test_factors_of_a_case_computed_by_hand() -> None:
    """Class 0 in 8 of 10 images, class 1 in 2, class 2 in 1; a threshold of 0.4."""
    labels = [[0]] * 7 + [[1, 1], [0, 1, 2], []]
    factors = repeat_factors(labels, 0.4)
    expected = [1.0] * 7 + [math.sqrt(0.4 / 0.2), math.sqrt(0.4 / 0.1), 1.0]
    np.testing.assert_allclose(factors, expected)


def test_nothing_is_repeated_where_all_classes_are_frequent_or_absent() -> None:
    assert repeat_factors([[0], [0, 1], [1]], 0.5).tolist() == [1.0, 1.0, 1.0]
    assert repeat_factors([[], []], 0.5).tolist() == [1.0, 1.0]


@given(
    factors=st.lists(st.floats(1.0, 20.0), min_size=1, max_size=60),
    seed=st.integers(0, 1000),
)
def test_each_image_comes_as_often_as_expected_or_once_more_or_less(factors: list[float], seed: int) -> None:
    weights = np.array(factors)
    drawn = draw_in_proportion(weights, np.random.default_rng(seed))
    assert len(drawn) == len(factors)
    expected = weights * len(factors) / weights.sum()
    counts = np.bincount(drawn, minlength=len(factors))
    assert (counts >= np.floor(expected - 1e-9)).all()
    assert (counts <= np.ceil(expected + 1e-9)).all()


def test_the_mean_over_epochs_is_the_expectation() -> None:
    weights = np.array([1.0, 1.0, 1.5, 2.0, 4.5])
    counts = np.zeros(5)
    for seed in range(4000):
        counts += np.bincount(draw_in_proportion(weights, np.random.default_rng(seed)), minlength=5)
    assert counts / 4000 == pytest.approx([0.5, 0.5, 0.75, 1.0, 2.25], abs=0.05)
