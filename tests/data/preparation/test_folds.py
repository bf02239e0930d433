"""Folds never split a patient, and every fold holds some."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.data.preparation.folds import assign_folds, assign_normals
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


@given(
    normals=st.lists(st.integers(0, 20), max_size=60),
    with_lesions=st.dictionaries(st.integers(0, 20), st.integers(0, 3), max_size=8),
    seed=st.integers(0, 10),
)
def test_normals_follow_their_patient_or_go_where_the_fewest_are(
    normals: list[int], with_lesions: dict[int, int], seed: int
) -> None:
    fold_of_patient = {f"P{patient}": fold for patient, fold in with_lesions.items()}
    patients = [f"P{patient}" for patient in normals]
    folds = assign_normals(patients, fold_of_patient, 4, seed)
    assert folds == assign_normals(patients, fold_of_patient, 4, seed)
    of_patient = dict(zip(patients, folds, strict=True))
    assert [of_patient[patient] for patient in patients] == folds
    assert all(
        of_patient[patient] == fold_of_patient.get(patient, of_patient[patient]) for patient in patients
    )
    # A fold above the lowest by more than a patient's images has no patient that could have gone elsewhere.
    counts = [folds.count(fold) for fold in range(4)]
    for patient in set(patients) - set(fold_of_patient):
        assert counts[of_patient[patient]] - patients.count(patient) <= min(counts)


def test_too_few_patients_are_told() -> None:
    with pytest.raises(UserError, match="3 patients cannot make 5 folds"):
        assign_folds(["a", "b", "c", "c"], ["x"] * 4, 5, 0)
