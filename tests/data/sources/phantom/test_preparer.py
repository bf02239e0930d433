"""The phantom on disk: same bytes for any number of processes, whole or absent, never mixed with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import prepared_folders
from modise_lightning.data.sources.phantom import writing
from modise_lightning.data.sources.phantom.preparer import PhantomPreparer
from modise_lightning.errors import UserError

CATEGORIES = [
    {"name": "malignant mass", "prompts": ["spiculated mass"], "isthing": True, "color": [230, 159, 0]},
    {"name": "benign mass", "prompts": ["oval mass"], "isthing": True, "color": [86, 180, 233]},
    {"name": "calcification cluster", "prompts": ["calcifications"], "isthing": True, "color": [0, 158, 115]},
]


def make(root: Path, **changes: Any) -> PhantomPreparer:
    arguments: dict[str, Any] = {
        "root": str(root),
        "categories": CATEGORIES,
        "num_patients": 8,
        "image_size": 96,
        "seed": 0,
        "num_folds": 2,
        "num_processes": 1,
        "both_breasts_probability": 0.67,
        "lesion_count_probabilities": [0.15, 0.50, 0.25, 0.10],
        "lesion_kind_probabilities": [0.34, 0.36, 0.30],
        "mass_diameter": [0.06, 0.20],
        "cluster_diameter": [0.08, 0.20],
        "benign_contrast": [0.22, 0.36],
        "malignant_contrast": [0.44, 0.72],
        "calcification_contrast": [0.35, 0.80],
        "normals": "none",
        "num_normal_patients": 3,
    }
    return PhantomPreparer(**(arguments | changes))


def digests(root: Path) -> dict[str, str]:
    return prepared_folders.digests(root, without="report.json")  # which names the folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "phantom"
    make(root).prepare()
    return root


def test_the_number_of_processes_does_not_change_a_byte(prepared: Path, tmp_path: Path) -> None:
    make(tmp_path / "phantom", num_processes=2).prepare()
    assert digests(tmp_path / "phantom") == digests(prepared)
    assert len(digests(prepared)) > 2 * 16


def test_another_seed_gives_other_images(prepared: Path, tmp_path: Path) -> None:
    make(tmp_path / "phantom", seed=1).prepare()
    images = [set(digests(root / "images").values()) for root in (prepared, tmp_path / "phantom")]
    assert not images[0] & images[1]


def test_everything_says_that_it_is_synthetic(prepared: Path) -> None:
    info = json.loads((prepared / "panoptic.json").read_text())["info"]
    assert info["synthetic"] is True
    assert "synthetic phantom" in info["description"].lower()
    assert "not real patients" in info["description"]
    assert make(prepared).prepare().synthetic is True


def test_the_report_counts_what_is_there(prepared: Path) -> None:
    report = make(prepared).prepare()
    document = json.loads((prepared / "panoptic.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    lesions = [
        names[info["category_id"]] for item in document["annotations"] for info in item["segments_info"]
    ]
    assert report.counts["patients"] == 8
    assert (
        report.counts["images"] == len(document["images"]) == len(list((prepared / "images").glob("*.png")))
    )
    for name in names.values():
        assert report.counts[name] == lesions.count(name)
    empty = sum(not item["segments_info"] for item in document["annotations"])
    assert report.counts["images without a lesion"] == empty
    assert not report.problems
    written = json.loads((prepared / "report.json").read_text())
    assert written["counts"] == report.counts
    assert written["root"] == str(prepared)


def test_normal_patients_stand_behind_the_others_and_change_none_of_them(
    prepared: Path, tmp_path: Path
) -> None:
    root = tmp_path / "phantom"
    report = make(root, normals="evaluation").prepare()
    before, after = digests(prepared), digests(root)
    assert {name: after[name] for name in before if name.endswith(".png")} == {
        name: digest for name, digest in before.items() if name.endswith(".png")
    }
    folds, all_folds = (json.loads((each / "folds.json").read_text())["images"] for each in (prepared, root))
    assert {name: all_folds[name] for name in folds} == folds
    index = json.loads((root / "panoptic.json").read_text())
    without = {each["file_name"] for each in index["annotations"] if not each["segments_info"]}
    assert {image["file_name"] for image in index["images"] if image.get("normal") == 1} == without
    added = set(all_folds) - set(folds)
    assert added < without  # some breasts of the other patients have no lesion either
    assert {all_folds[name]["patient_id"] for name in added} == {f"phantom_{n:04d}" for n in (8, 9, 10)}
    assert report.counts["patients"] == 11
    assert report.counts["normal images"] == len(without) == index["info"]["normal_images"]
    own = [all_folds[name]["fold"] for name in without]
    assert abs(own.count(0) - own.count(1)) <= 4
    assert make(root, normals="all").prepare().counts == report.counts  # the same dataset


def test_without_normal_patients_nothing_is_marked(prepared: Path) -> None:
    index = json.loads((prepared / "panoptic.json").read_text())
    assert "normal_images" not in index["info"]
    assert "num_normal_patients" not in index["info"]["parameters"]
    assert not any("normal" in image for image in index["images"])


def test_pixels_are_16_bit_and_of_the_size_asked_for(prepared: Path) -> None:
    for path in (prepared / "images").glob("*.png"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixels.shape == (96, 96)
        assert pixels.dtype == np.uint16
        assert pixels.max() > 255 * 100


def test_no_patient_is_in_two_folds(prepared: Path) -> None:
    folds_of: dict[str, set[int]] = {}
    for row in json.loads((prepared / "folds.json").read_text())["images"].values():
        folds_of.setdefault(row["patient_id"], set()).add(row["fold"])
    assert len(folds_of) == 8
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert set.union(*folds_of.values()) == {0, 1}


def test_the_index_names_view_side_and_density(prepared: Path) -> None:
    images = json.loads((prepared / "panoptic.json").read_text())["images"]
    assert {image["view"] for image in images} == {"CC", "MLO"}
    assert {image["laterality"] for image in images} == {"L", "R"}
    assert {image["density"] for image in images} <= set("abcd")
    assert len({image["id"] for image in images}) == len(images)


def test_id_maps_hold_the_segments_of_the_index(prepared: Path) -> None:
    document = json.loads((prepared / "panoptic.json").read_text())
    for annotation in document["annotations"]:
        blue, green, red = np.moveaxis(
            cv2.imread(str(prepared / "panoptic" / annotation["file_name"])), -1, 0
        )
        ids = red.astype(int) + 256 * green.astype(int) + 65536 * blue.astype(int)
        areas = {info["id"]: info["area"] for info in annotation["segments_info"]}
        assert areas == {int(i): int((ids == i).sum()) for i in np.unique(ids) if i}


def test_an_existing_equal_phantom_is_left_alone(prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    make(prepared, num_processes=2).prepare()
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_other_parameters_are_an_error_that_names_folder_and_difference(prepared: Path) -> None:
    before = digests(prepared)
    with pytest.raises(UserError, match=r"seed is 0 there and 7 here.*data\.root=.*delete") as error:
        make(prepared, seed=7).prepare()
    assert str(prepared) in str(error.value)
    with pytest.raises(UserError, match="benign_contrast"):
        make(prepared, benign_contrast=[0.1, 0.2]).prepare()
    assert digests(prepared) == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"no panoptic\.json"):
        make(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "panoptic.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        make(tmp_path).prepare()


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(task: Any) -> Any:
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_patient(task)

    write_patient = writing.write_patient
    monkeypatch.setattr(writing, "write_patient", interrupted)
    root = tmp_path / "phantom"
    with pytest.raises(KeyboardInterrupt):
        make(root).prepare()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / ".phantom.unfinished.x" / "phantom").mkdir(parents=True)  # as a killed process leaves it
    make(root).prepare()
    assert (root / "panoptic.json").is_file()
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_patients": 0}, "num_patients is 0"),
        ({"image_size": 10**6}, "image_size is 1000000"),
        ({"seed": -1}, "seed is -1"),
        ({"mass_diameter": [0.2, 0.1]}, "mass_diameter"),
        ({"mass_diameter": [0.1]}, "mass_diameter"),
        ({"lesion_count_probabilities": [0.5, 0.4]}, "lesion_count_probabilities"),
        ({"lesion_count_probabilities": []}, "lesion_count_probabilities"),
        ({"lesion_kind_probabilities": [0.5, 0.5]}, "lesion_kind_probabilities"),
        ({"lesion_kind_probabilities": [1.5, -0.25, -0.25]}, "lesion_kind_probabilities"),
        ({"categories": CATEGORIES[:2]}, "calcification cluster"),
    ],
)
def test_bad_parameters_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path / "phantom", **changes)
    assert list(tmp_path.iterdir()) == []
