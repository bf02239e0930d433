"""Sums of parts are exact, whatever the order."""

from __future__ import annotations

import random
from fractions import Fraction

import torch
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.metrics.accumulated.exact_sum import from_parts, to_parts

FRACTIONS = st.lists(st.integers(1, 4096).map(lambda parts: 1 / parts), min_size=1, max_size=40)


@given(values=FRACTIONS, seed=st.integers(0, 1000))
def test_a_sum_is_the_rounded_exact_one_in_any_order(values: list[float], seed: int) -> None:
    shuffled = random.Random(seed).sample(values, len(values))
    first, second = (
        sum(to_parts(torch.tensor(value, dtype=torch.float64)) for value in order)
        for order in (values, shuffled)
    )
    assert torch.equal(first, second)
    # Parts below 2^-62 are cut off, at most one for each number.
    exact = sum(map(Fraction, values))
    total = float(from_parts(first))
    assert abs(Fraction(total) - exact) <= Fraction(len(values), 2**62) + Fraction(total) / 2**52


def test_floating_point_sums_do_depend_on_the_order() -> None:
    values = [0.1, 0.2, 0.3]
    assert sum(values) != sum(values[::-1])
    parts = [to_parts(torch.tensor(value, dtype=torch.float64)) for value in values]
    assert torch.equal(from_parts(sum(parts)), from_parts(sum(parts[::-1])))


@given(value=st.floats(0, 2**40))
def test_a_number_comes_back(value: float) -> None:
    back = float(from_parts(to_parts(torch.tensor(value, dtype=torch.float64))))
    assert back <= value
    assert value - back <= 2.0**-62
