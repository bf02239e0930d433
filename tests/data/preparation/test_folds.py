"""Folds never split a patient, and every fold holds some."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.errors import UserError


@given(
    images=st.lists(st.tuples(st.integers(0, 15), st.sampled_from("ab")), min_size=10, max_size=60),
    seed=st.integers(0, 100),
)
def test_patients_stay_together(images: list[tuple[int, str]], seed: int) -> None:
    patients = [f"P{patient}" for patient, _ in images] + [f"Q{index}" for index in range(5)]
    strata = [stratum for _, stratum in images] + ["a"] * 5
    folds = assign_folds(patients, strata, 5, seed)
    assert folds == assign_folds(patients, strata, 5, seed)
    assert set(folds) == set(range(5))
    assert len(set(zip(patients, folds, strict=True))) == len(set(patients))


def test_classes_are_spread_evenly() -> None:
    patients = [f"P{index}" for index in range(100)]
    strata = ["malignant" if index % 4 == 0 else "benign" for index in range(100)]
    folds = assign_folds(patients, strata, 5, 0)
    malignant = [
        sum(fold == own and stratum == "malignant" for own, stratum in zip(folds, strata, strict=True))
        for fold in range(5)
    ]
    assert malignant == [5, 5, 5, 5, 5]


def test_strata_that_are_all_rarer_than_the_folds_leave_even_folds() -> None:
    folds = assign_folds(list("abcdefghij"), ["x", "x", "y", "y", "z", "z", "u", "u", "v", "v"], 5, 0)
    assert sorted(folds) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_too_few_patients_are_told() -> None:
    with pytest.raises(UserError, match="3 patients cannot make 5 folds"):
        assign_folds(["a", "b", "c", "c"], ["x"] * 4, 5, 0)
