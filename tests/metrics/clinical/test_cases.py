"""Cases of breasts and patients: a plain loop, picai_eval's definition, one by hand, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.errors import UserError
from modise_lightning.metrics.clinical.cases import CaseLevel, collect_cases, patients_of
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table
from modise_lightning.structures import ImageRecord
from simulated_records import image_row, simulate

LEVELS: list[CaseLevel] = ["breast", "patient"]


@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from(LEVELS))
@settings(max_examples=15, deadline=None)
def test_the_highest_score_of_a_case_by_a_plain_loop(seed: int, level: CaseLevel) -> None:
    records, images = simulate(seed)
    cases = collect_cases(records, images, level=level, suspicious=["malignant"])
    scores: dict[tuple[str, str], float] = {}
    positive: dict[tuple[str, str], bool] = {}
    keys = []
    for image in images:
        key = (image.patient_id, str(image.laterality) if level == "breast" else "")
        keys.append(key)
        for row in records.instances.itertuples():
            if row.image_id != image.image_id or row.category != "malignant":
                continue
            if row.source == "truth":
                positive[key] = True
            elif row.source == "instance" and row.void_area <= 25:
                scores[key] = max(scores.get(key, 0.0), row.score)
    assert len(cases.scores) == len(set(keys))
    for key, case in zip(keys, cases.of_image, strict=True):
        assert cases.scores[case] == scores.get(key, 0.0)
        assert cases.positive[case] == positive.get(key, False)
        assert cases.patients[case] == key[0]


def one_patient() -> tuple[EvaluationRecords, list[ImageRecord]]:
    """A left breast in two views, with a malignant lesion in one; a right one with a benign lesion."""
    left = [ImageRecord(0, "0.png", "p", 9, 9, laterality="left", view="CC")]
    left.append(ImageRecord(1, "1.png", "p", 9, 9, laterality="left", view="MLO"))
    images = [*left, ImageRecord(2, "2.png", "p", 9, 9, laterality="right", view="CC")]
    segments: list[tuple[object, ...]] = [
        (0, "truth", 0, "malignant", np.nan, 10, 0),
        (2, "truth", 0, "benign", np.nan, 10, 0),
        (0, "instance", 0, "malignant", 0.3, 10, 0),
        (1, "instance", 0, "malignant", 0.6, 10, 0),
        (1, "instance", 1, "malignant", 0.9, 10, 6),
        (1, "panoptic", 0, "malignant", 1.0, 10, 0),
        (2, "instance", 0, "benign", 0.8, 10, 0),
        (2, "instance", 1, "malignant", 0.1, 10, 5),
    ]
    rows = [image_row(image, 0, 0) for image in images]
    return EvaluationRecords(
        make_table("images", rows), make_table("instances", segments), make_table("overlaps", [])
    ), images


def test_by_hand() -> None:
    """0.6 is of the other view of the same breast; 0.9 is void by more than half, 0.1 by just half."""
    records, images = one_patient()
    breasts = collect_cases(records, images, level="breast", suspicious=["malignant"])
    assert breasts.scores.tolist() == [0.6, 0.1]
    assert breasts.positive.tolist() == [True, False]
    assert breasts.of_image.tolist() == [0, 0, 1]
    patients = collect_cases(records, images, level="patient", suspicious=["malignant", "benign"])
    assert patients.scores.tolist() == [0.8]
    assert patients.positive.tolist() == [True]


def test_another_examination_is_another_breast_of_the_same_patient() -> None:
    records, images = one_patient()
    images = [replace(image, study_id=str(image.image_id)) for image in images]
    breasts = collect_cases(records, images, level="breast", suspicious=["malignant"])
    assert breasts.scores.tolist() == [0.3, 0.6, 0.1]
    assert breasts.patients.tolist() == ["p"] * 3


@pytest.mark.parametrize(
    ("change", "level", "message"),
    [
        (
            {"laterality": None},
            "breast",
            "1 of 3 images do not say their laterality, so that no breast is a case",
        ),
        ({"patient_id": ""}, "breast", "1 of 3 images do not say their patient, so that no breast is a case"),
        (
            {"patient_id": ""},
            "patient",
            "1 of 3 images do not say their patient, so that no patient is a case",
        ),
    ],
)
def test_what_the_source_does_not_say_is_not_guessed(
    change: dict[str, str | None], level: CaseLevel, message: str
) -> None:
    records, images = one_patient()
    images[1] = replace(images[1], **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        collect_cases(records, images, level=level, suspicious=["malignant"])


def test_no_suspicious_class_is_refused() -> None:
    with pytest.raises(UserError, match="no class is called suspicious"):
        collect_cases(*one_patient(), level="patient", suspicious=[])


def test_an_image_without_a_patient_is_a_patient_of_its_own() -> None:
    _, images = one_patient()
    assert patients_of([images[0], replace(images[1], patient_id="")]) == ["p", "image 1"]
