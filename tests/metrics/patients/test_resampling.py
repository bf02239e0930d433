"""The bootstrap: scipy's numbers on the same resamples, and cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from modise_lightning.metrics.patients.resampling import (
    Bootstrap,
    Interval,
    Strata,
    expanded,
    interval,
)
from modise_lightning.metrics.patients.statistics import RatioOfSums, SegmentCounts

SEEDS = st.integers(0, 2**32 - 1)


def make_fold(generator: np.random.Generator, size: int, prefix: str) -> RatioOfSums:
    patients = tuple(f"{prefix}{number:02}" for number in range(size))
    numerator = generator.exponential(size=(size, 1))
    return RatioOfSums("ratio", patients, numerator, numerator + generator.exponential(size=(size, 1)))


def intervals(
    folds: list[Any], *, samples: int, confidence: float, seed: int, minus: list[Any] | None = None
) -> dict[str, Interval]:
    bootstrap = Bootstrap(samples=samples, confidence=confidence, seed=seed)
    return bootstrap.intervals(bootstrap.measure(folds), None if minus is None else bootstrap.measure(minus))


class Resamples:
    """What scipy's ``bootstrap`` takes for an earlier result."""

    def __init__(self, values: np.ndarray) -> None:
        self.bootstrap_distribution = values


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_both_bounds_are_scipys_on_the_same_resamples(seed: int) -> None:
    generator = np.random.default_rng(seed)
    folds = [make_fold(generator, size, prefix) for size, prefix in ((12, "a"), (7, "b"), (9, "c"))]
    strata = Strata.of([fold.patients for fold in folds])
    drawn = strata.draw(300, seed=3)
    resampled = np.mean(
        [fold.measure(weights)["ratio"][:, 0] for fold, weights in zip(folds, drawn, strict=True)], axis=0
    )

    def statistic(*indices: np.ndarray, axis: int = -1) -> np.ndarray:
        ratios = [
            fold.numerator[own.astype(int), 0].sum(axis) / fold.denominator[own.astype(int), 0].sum(axis)
            for fold, own in zip(folds, indices, strict=True)
        ]
        return np.mean(ratios, axis=0)

    found = intervals(folds, samples=300, confidence=0.9, seed=3)["ratio"]
    data = [np.arange(len(fold.patients)) for fold in folds]
    for method, bounds in (("percentile", found.percentile), ("BCa", found.bca)):
        expected = bootstrap(
            data,
            statistic,
            n_resamples=0,
            confidence_level=expanded(0.9, [12, 7, 9]),
            method=method,
            vectorized=True,
            bootstrap_result=Resamples(resampled),
        ).confidence_interval
        assert bounds == pytest.approx(tuple(expected))
    assert found.deviation == pytest.approx(resampled.std())
    assert found.value == pytest.approx(np.mean([f.numerator.sum() / f.denominator.sum() for f in folds]))
    assert found.defined == 1


@pytest.mark.parametrize(
    ("sizes", "level"),
    [
        # By hand: t = 2.0010 of 59 degrees of freedom, times sqrt(60 / 59), is 2.0179 standard deviations.
        ([60, 80], 0.95639),
        # 2.7764 of 4 degrees, times sqrt(5 / 4): 3.1042.
        ([5], 0.99809),
        ([1, 5, 1], 0.99809),
        ([1], 0.95),
    ],
)
def test_the_level_is_expanded_by_students_t(sizes: list[int], level: float) -> None:
    assert expanded(0.95, sizes) == pytest.approx(level, abs=2e-5)


@given(seed=SEEDS, size=st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_bounds_of_very_few_patients_are_in_order_and_among_the_resamples(seed: int, size: int) -> None:
    fold = make_fold(np.random.default_rng(seed), size, "a")
    found = intervals([fold], samples=100, confidence=0.95, seed=seed)["ratio"]
    drawn = fold.measure(Strata((0,), (size,)).draw(100, seed)[0])["ratio"][:, 0]
    for low, high in (found.percentile, found.bca):
        assert np.isnan(low) == np.isnan(high)
        assert np.isnan(low) or drawn.min() <= low <= high <= drawn.max()


def test_an_expanded_interval_of_few_covers_the_mean_as_students_does() -> None:
    """Of eight normal draws; the plain percentile interval holds the mean in less than 92 % of the cases."""
    generator = np.random.default_rng(0)
    held = {"expanded": 0, "plain": 0}
    for seed in range(400):
        values = generator.normal(size=(8, 1))
        fold = RatioOfSums("mean", tuple("abcdefgh"), values, np.ones((8, 1)))
        found = intervals([fold], samples=1000, confidence=0.95, seed=seed)["mean"]
        drawn = fold.measure(Strata((0,), (8,)).draw(1000, seed)[0])["mean"][:, 0]
        plain = np.quantile(drawn, [0.025, 0.975])
        held["expanded"] += found.percentile[0] <= 0 <= found.percentile[1]
        held["plain"] += plain[0] <= 0 <= plain[1]
    assert held["plain"] / 400 < 0.92
    assert held["expanded"] / 400 == pytest.approx(0.95, abs=0.03)


def test_patients_that_all_folds_share_are_drawn_once() -> None:
    """Two trainings with the same results on the same patients vary as much as one."""
    fold = make_fold(np.random.default_rng(0), 15, "a")
    drawn = Bootstrap(samples=200, confidence=0.95, seed=1)
    alone = drawn.intervals(drawn.measure([fold]))["ratio"]
    shared = drawn.intervals(drawn.measure([fold, fold]))["ratio"]
    assert shared.percentile == pytest.approx(alone.percentile)
    assert shared.bca == pytest.approx(alone.bca)
    assert Strata.of([("a",), ("b", "c"), ("a",)]) == Strata((0, 1, 0), (1, 2))


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_difference_of_equal_models_is_0_without_width(seed: int) -> None:
    fold = make_fold(np.random.default_rng(seed), 10, "a")
    found = intervals([fold], minus=[fold], samples=50, confidence=0.95, seed=0)["ratio"]
    assert (found.value, found.percentile, found.deviation) == (0, (0, 0), 0)
    assert np.isnan(found.bca).all()


def test_a_paired_difference_is_narrower_than_one_of_separate_draws() -> None:
    """A model that is a little better for every patient."""
    first = make_fold(np.random.default_rng(2), 40, "a")
    second = RatioOfSums("ratio", first.patients, 0.95 * first.numerator, first.denominator)
    paired = intervals([first], minus=[second], samples=500, confidence=0.95, seed=0)["ratio"]
    own = intervals([first], samples=500, confidence=0.95, seed=0)["ratio"]
    assert paired.value == pytest.approx(0.05 * own.value)
    assert paired.percentile[0] > 0
    assert paired.deviation < own.deviation / 10


def test_undefined_resamples_are_left_out_and_told() -> None:
    """One of two patients has all there is; a quarter of the resamples lacks it."""
    fold = RatioOfSums("ratio", ("a", "b"), np.array([[0.5], [0.0]]), np.array([[1.0], [0.0]]))
    found = intervals([fold], samples=4000, confidence=0.95, seed=0)["ratio"]
    assert found.value == 0.5
    assert found.percentile == (0.5, 0.5)
    assert found.defined == pytest.approx(0.75, abs=0.03)
    nothing = RatioOfSums("ratio", ("a", "b"), np.zeros((2, 1)), np.zeros((2, 1)))
    undefined = intervals([nothing], samples=10, confidence=0.95, seed=0)["ratio"]
    assert np.isnan([undefined.value, *undefined.percentile, *undefined.bca]).all()
    assert undefined.defined == 0


def test_a_class_of_one_model_is_no_part_of_a_difference() -> None:
    counts = np.zeros((2, 4, 2))
    counts[:, :, 0] = [1, 0, 0, 0.8]
    other = counts.copy()
    other[:, 1, 1] = 1  # predicts a class without truth: its own PQ is the mean of 0.8 and 0
    first, second = SegmentCounts(("a", "b"), counts), SegmentCounts(("a", "b"), other)
    found = intervals([first], minus=[second], samples=10, confidence=0.95, seed=0)["PQ"]
    assert found.value == 0
    assert intervals([second], samples=10, confidence=0.95, seed=0)["PQ"].value == pytest.approx(0.4)


def test_bounds_by_hand() -> None:
    """Resamples 0 to 100; half are below 50, and a symmetric jackknife has no skewness."""
    found = interval(50.0, np.arange(101.0), [np.array([49.0, 50.0, 51.0])], 0.9)
    assert found.percentile == pytest.approx((5, 95))
    assert found.bca == pytest.approx((5, 95))
    # 63.5 of 101 are below 63, counting its own half; the bounds move up by twice that quantile.
    moved = interval(63.0, np.arange(101.0), [np.array([62.0, 63.0, 64.0])], 0.9)
    assert moved.bca[0] > 5
    assert moved.bca[1] > 95
