"""Breast, view, study and spacing are read from tags, and names that identify a patient are told."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from modise_lightning.prediction.inputs.dicom_tags import tags_of


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def code(value: str) -> list[Dataset]:
    return [header(CodeValue=value)]


@pytest.mark.parametrize(
    ("elements", "laterality", "view"),
    [
        ({}, None, None),
        ({"ImageLaterality": "L", "ViewPosition": "MLO"}, "left", "MLO"),
        ({"Laterality": "R", "ViewPosition": "cc"}, "right", "CC"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "right", None),
        ({"ImageLaterality": "B", "ViewPosition": ""}, None, None),
        ({"ViewCodeSequence": code("399162004")}, None, "CC"),
        ({"ViewCodeSequence": code("R-10226")}, None, "MLO"),
        ({"ViewCodeSequence": code("1")}, None, None),
        ({"PatientOrientation": "MLO"}, None, "MLO"),
        ({"PatientOrientation": ["P", "L"]}, None, None),
    ],
)
def test_breast_and_view(elements: dict[str, object], laterality: str | None, view: str | None) -> None:
    tags = tags_of(header(**elements))
    assert (tags.laterality, tags.view) == (laterality, view)


def test_a_frames_laterality_counts_where_the_image_has_none() -> None:
    anatomy = header(FrameAnatomySequence=[header(FrameLaterality="R")])
    assert tags_of(header(SharedFunctionalGroupsSequence=[anatomy])).laterality == "right"


@pytest.mark.parametrize(
    ("text", "identifies"),
    [
        ("exam/1.dcm", False),
        ("exam/Doe.dcm", True),
        ("JANE/1.dcm", True),
        ("x_P0815_y.dcm", True),
        ("20240131.dcm", True),
        ("1.2.3.4.5.dcm", True),
        ("dr/1.dcm", False),  # shorter than three letters
    ],
)
def test_names_that_identify_a_patient_or_study(text: str, identifies: bool) -> None:
    tags = tags_of(
        header(
            PatientName="Doe^Jane^^Dr",
            PatientID="P0815",
            StudyDate="20240131",
            SOPInstanceUID="1.2.3.4.5",
        )
    )
    assert tags.identifies(text) == identifies
    removed = tags_of(header(PatientID="P0815", PatientIdentityRemoved="YES"))
    assert not removed.identifies("P0815.dcm")


def test_implants() -> None:
    found = [tags_of(header(BreastImplantPresent=value)).has_implant for value in ("YES", "NO", "")]
    assert found == [True, False, None]
