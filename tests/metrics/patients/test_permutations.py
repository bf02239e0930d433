"""Permutation tests and Holm's correction: exhaustive enumeration, closed tests, cases by hand."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.metrics.patients.permutations import PermutationTest, holm
from modise_lightning.metrics.patients.statistics import RatioOfSums

SEEDS = st.integers(0, 2**32 - 1)


def make_fold(generator: np.random.Generator, size: int, prefix: str) -> RatioOfSums:
    patients = tuple(f"{prefix}{number:02}" for number in range(size))
    numerator = generator.exponential(size=(size, 1))
    return RatioOfSums("ratio", patients, numerator, numerator + generator.exponential(size=(size, 1)))


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_equal_models_do_not_differ(seed: int) -> None:
    fold = make_fold(np.random.default_rng(seed), 10, "a")
    assert PermutationTest(samples=50, seed=0).p_values([fold], [fold])["ratio"] == 1


@given(seed=SEEDS)
@settings(max_examples=5, deadline=None)
def test_p_is_the_share_of_all_exchanges(seed: int) -> None:
    """Of seven patients all 128 exchanges can be tried."""
    generator = np.random.default_rng(seed)
    first, second = make_fold(generator, 7, "a"), make_fold(generator, 7, "a")

    def difference(exchanged: tuple[bool, ...]) -> float:
        chosen = np.array(exchanged)
        sums = []
        for own, its in ((first, second), (second, first)):
            numerator, denominator = (
                np.where(chosen, getattr(its, name)[:, 0], getattr(own, name)[:, 0]).sum()
                for name in ("numerator", "denominator")
            )
            sums.append(numerator / denominator)
        return float(sums[0] - sums[1])

    observed = difference((False,) * 7)
    every = [difference(exchanged) for exchanged in product([False, True], repeat=7)]
    expected = np.mean(np.abs(every) >= abs(observed) - 1e-12)
    found = PermutationTest(samples=6000, seed=1).p_values([first], [second])["ratio"]
    assert found == pytest.approx(expected, abs=0.03)


def test_p_of_equally_good_models_is_uniform() -> None:
    """A test at 20 % rejects about 20 % of 200 true hypotheses."""
    p_values = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        folds = [make_fold(generator, 10, "a"), make_fold(generator, 8, "b")]
        others = [make_fold(generator, 10, "a"), make_fold(generator, 8, "b")]
        p_values.append(PermutationTest(samples=99, seed=seed).p_values(folds, others)["ratio"])
    assert np.mean(np.array(p_values) <= 0.2) == pytest.approx(0.2, abs=0.08)


def test_p_of_a_clear_difference_is_the_smallest_there_is() -> None:
    first = make_fold(np.random.default_rng(0), 30, "a")
    second = RatioOfSums("ratio", first.patients, 0.3 * first.numerator, first.denominator)
    assert PermutationTest(samples=199, seed=0).p_values([first], [second])["ratio"] == 1 / 200


def by_closed_testing(p_values: list[float]) -> list[float]:
    """Holm's is Bonferroni's test of every set of hypotheses that holds one (Marcus et al. 1976)."""
    indices = range(len(p_values))
    corrected = []
    for index in indices:
        sets = [
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in combinations(indices, size)
            if index in chosen
        ]
        corrected.append(max(min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets))
    return corrected


@given(p_values=st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.2, 0.5, 1.0]), max_size=6))
def test_holm_is_the_closed_test(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(by_closed_testing(p_values))


def test_holm_by_hand_and_without_undefined_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = holm([0.04, float("nan"), 0.02])
    assert corrected[0] == pytest.approx(0.04)
    assert np.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.04)
