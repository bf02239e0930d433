"""Exam, breast and view from names, and one white for the pictures of an exam."""

from __future__ import annotations

from pathlib import Path

import pytest

from modise_lightning.errors import UserError
from modise_lightning.prediction.exams import ExamNames, ExamPlace, choose_whites
from modise_lightning.prediction.inputs.dicom_tags import DicomTags
from modise_lightning.prediction.inputs.finding import InputImage
from modise_lightning.prediction.inputs.inspection import InspectedImage

PATTERN = r"(?P<exam>P\d+)_(?P<laterality>[LR])_DM_(?P<view>CC|MLO)"


def inspected(path: str, tags: DicomTags | None = None) -> InspectedImage:
    return InspectedImage(InputImage(Path(path), tuple(path.split("/"))), "0", tags, None)


def tags(**changes: object) -> DicomTags:
    known: dict[str, object] = {
        "study_uid": None,
        "laterality": None,
        "view": None,
        "spacing_mm": None,
        "has_implant": None,
        "is_deidentified": False,
        "identifiers": {},
        "uids": (),
    }
    return DicomTags(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "pattern", "place"),
    [
        ("P1_L_DM_MLO.png", PATTERN, ExamPlace("P1", "left", "MLO")),
        ("a/P2_R_DM_CC.png", PATTERN, ExamPlace("P2", "right", "CC")),
        ("a/other.png", PATTERN, ExamPlace("a/other.png", None, None)),
        ("a/other.png", None, ExamPlace("a", None, None)),
        ("other.png", None, ExamPlace(".", None, None)),
        ("a/left.png", "(?P<laterality>left|right)", ExamPlace("a/left.png", "left", None)),
    ],
)
def test_names_say_where_an_image_belongs(path: str, pattern: str | None, place: ExamPlace) -> None:
    assert ExamNames(pattern).place(inspected(path)) == place


def test_tags_go_before_names_and_a_study_has_a_pseudonym() -> None:
    names = ExamNames(PATTERN)
    known = tags(study_uid="1.2.3", laterality="right", view="CC")
    place = names.place(inspected("P1_L_DM_MLO.dcm", known))
    assert (place.laterality, place.view) == ("right", "CC")
    assert place.exam.startswith("study-")
    assert "1.2.3" not in place.exam
    assert names.place(inspected("b.dcm", tags(study_uid="1.2.3"))).exam == place.exam
    assert names.place(inspected("b.dcm", tags(study_uid="1.2.4"))).exam != place.exam


def test_a_folder_that_names_the_patient_becomes_a_pseudonym() -> None:
    place = ExamNames(None).place(inspected("Doe/1.dcm", tags(identifiers={"patient_name": "Doe^Jane"})))
    assert place.exam.startswith("exam-")


@pytest.mark.parametrize(
    ("pattern", "folders", "told"),
    [
        (None, {"": 16, "a": 16}, []),
        (None, {"": 17, "a": 16}, ["17 pictures that lie in the folder itself ", ""]),
        (None, {"a": 17, "b/c": 18, "d": 19}, ["19 pictures of exam 'd' ", " (2 more so)"]),
        (PATTERN, {"": 17}, []),
    ],
)
def test_a_folder_of_more_pictures_than_an_exam_has_is_told(
    pattern: str | None, folders: dict[str, int], told: list[str]
) -> None:
    images = [
        inspected(f"{folder}/{number}.png".lstrip("/"))
        for folder, count in folders.items()
        for number in range(count)
    ]
    studies = [inspected(f"{number}.dcm", tags(study_uid="1.2")) for number in range(30)]
    names = ExamNames(pattern)
    places = [names.place(each) for each in [*images, *studies]]
    advice = "; exams.pattern tells exams apart by names."
    notes = ["are taken as one exam".join(told) + advice] if told else []
    assert names.doubts([*images, *studies], places) == notes


@pytest.mark.parametrize("pattern", ["(", "(?P<patient>.)", "."])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(UserError, match=r"exams\.pattern"):
        ExamNames(pattern)


@pytest.mark.parametrize(
    ("largest", "white"),
    [
        (1, 255),
        (255, 255),
        (256, 511),
        (1023, 1023),
        (1024, 2047),
        (4095, 4095),
        (4096, 8191),
        (65535, 65535),
    ],
)
def test_white_is_the_next_of_whole_bits(largest: int, white: int) -> None:
    assert choose_whites(["a"], [largest], "auto")[0] == [white]


def test_the_pictures_of_an_exam_share_their_white_and_it_is_told() -> None:
    whites, notes = choose_whites(["a", "b", "a", "a"], [900, 3000, 3000, None], "auto")
    assert whites == [4095, 4095, 4095, None]
    assert len(notes) == 1
    assert "4095 is white in the 16-bit pictures of exam 'a' (largest value 3000) and 1 more" in notes[0]
    # The folder that was chosen has no name of its own.
    assert "pictures that lie in the folder itself (largest" in choose_whites(["."], [900], "auto")[1][0]
    assert choose_whites(["a", "b"], [900, None], 1023) == ([1023, None], [])
