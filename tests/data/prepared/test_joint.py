"""Several prepared datasets are read as one, in shared classes."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from joint_sources import FINDING, PATHOLOGY
from modise_lightning.data.prepared.dataset import PreparedDataset, open_prepared
from modise_lightning.data.prepared.joint import JointDataset, open_joint
from modise_lightning.errors import UserError

CLASSES = [
    {"name": "benign", "axis": "suspicion", "prompts": ["benign"]},
    {"name": "malignant", "axis": "suspicion", "prompts": ["malignant"]},
    {"name": "mass", "axis": "kind", "prompts": ["mass", "breast mass"]},
    {"name": "distortion", "axis": "kind"},
    {"name": "calcification", "axis": "kind"},
]


def source(name: str, root: Path, classes: Mapping[str, str | None]) -> dict[str, Any]:
    return {"name": name, "labels": "own", "root": str(root), "classes": dict(classes)}


def opened(*sources: dict[str, Any], **changes: Any) -> JointDataset:
    values: dict[str, Any] = {
        "root": "data",
        "name": "joint",
        "categories": None,
        "classes": CLASSES,
        "sources": list(sources),
        "absence": "unknown",
    }
    return open_joint(**{**values, **changes})


@pytest.fixture(scope="module")
def both(phantom_root: Path) -> JointDataset:
    return opened(source("kinds", phantom_root, FINDING), source("degrees", phantom_root, PATHOLOGY))


@pytest.fixture(scope="module")
def alone(phantom_root: Path) -> PreparedDataset:
    return open_prepared(root=str(phantom_root), categories=[{"name": name} for name in FINDING])


def test_classes_are_those_that_a_source_annotates_in_the_label_spaces_order(both: JointDataset) -> None:
    assert [category.name for category in both.categories] == ["benign", "malignant", "mass", "calcification"]
    assert both.categories[2].prompts == ("mass", "breast mass")


def test_images_keep_their_folds_and_get_names_of_their_own(
    both: JointDataset, alone: PreparedDataset
) -> None:
    number = len(alone.images)
    assert len(both.images) == 2 * number
    assert both.folds == alone.folds * 2
    for names in ([r.file_name for r in both.records], [r.image_id for r in both.records]):
        assert len(set(names)) == 2 * number
    assert [record.source for record in both.records] == ["kinds"] * number + ["degrees"] * number
    patients = {record.patient_id for record in alone.records}
    assert {record.patient_id for record in both.records} == {
        f"{name}_{patient}" for name in ("kinds", "degrees") for patient in patients
    }
    assert (both.read_image(number + 3) == alone.read_image(3)).all()
    assert (both.read_input(3) == alone.read_input(3)).all()


def test_segments_take_the_shared_class_and_those_without_one_are_void(
    both: JointDataset, alone: PreparedDataset
) -> None:
    number = len(alone.images)
    seen = set()
    for index in range(number):
        own = alone.read_target(index)
        own_names = [list(FINDING)[label] for label in own.labels.tolist()]
        for joint_index, table in ((index, FINDING), (number + index, PATHOLOGY)):
            target = both.read_target(joint_index)
            names = [both.categories[label].name for label in target.labels.tolist()]
            assert names == [table[name] for name in own_names if table[name] is not None]
            assert both.segment_labels(joint_index) == target.labels.tolist()
            masks = iter(target.masks)
            for name, mask in zip(own_names, own.masks, strict=True):
                if table[name] is None:
                    assert (target.segment_ids[mask] == -1).all()
                    seen.add("void")
                else:
                    assert (next(masks) == mask).all()
            assert ((target.segment_ids == 0) == (own.segment_ids == 0)).all()
    assert seen == {"void"}


@pytest.mark.parametrize(
    ("absence", "expected"),
    [
        ("unknown", [[False, False, True, True], [True, True, False, False]]),
        ("negative", [None, None]),
    ],
)
def test_what_is_annotated_is_told_with_each_image(
    absence: str, expected: list[Any], phantom_root: Path, alone: PreparedDataset
) -> None:
    sources = source("kinds", phantom_root, FINDING), source("degrees", phantom_root, PATHOLOGY)
    dataset = opened(*sources, absence=absence)
    for index, annotated in ((0, expected[0]), (len(alone.images), expected[1])):
        found = dataset.read_target(index).annotated
        assert (None if found is None else found.tolist()) == annotated


def test_more_classes_may_be_asked_for_than_are_annotated(phantom_root: Path) -> None:
    dataset = opened(
        source("kinds", phantom_root, FINDING), categories=[{"name": each["name"]} for each in CLASSES]
    )
    annotated = dataset.read_target(0).annotated
    assert annotated is not None
    assert annotated.tolist() == [False, False, True, False, True]


def test_what_it_says_of_itself_names_all_that_decides(both: JointDataset, phantom_root: Path) -> None:
    info = json.loads(json.dumps(both.info))
    assert (info["name"], info["synthetic"], info["absence"]) == ("joint", True, "unknown")
    assert [each["classes"] for each in info["sources"]] == [FINDING, PATHOLOGY]
    own = json.loads((phantom_root / "panoptic.json").read_text())["info"]
    assert [each["info"]["parameters"] for each in info["sources"]] == [own["parameters"]] * 2
    assert both.note == "phantom: Synthetic phantom images, not patients."


def test_crowd_regions_take_the_shared_class(phantom_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "crowds"
    shutil.copytree(phantom_root, root)
    index = json.loads((root / "panoptic.json").read_text())
    place, annotation = next(
        (place, each) for place, each in enumerate(index["annotations"]) if each["segments_info"]
    )
    for segment in annotation["segments_info"]:
        segment["iscrowd"] = 1
    (root / "panoptic.json").write_text(json.dumps(index))
    own = open_prepared(root=str(root), categories=[{"name": name} for name in FINDING]).read_target(place)
    dataset = opened(source("degrees", root, PATHOLOGY))
    crowd = dataset.read_target(place).crowd
    assert crowd is not None
    assert own.crowd is not None
    names = [
        None if shared is None else ["benign", "malignant"].index(shared) for shared in PATHOLOGY.values()
    ]
    expected = torch.tensor([-1 if each is None else each for each in [*names, None]])[own.crowd]
    assert (crowd == expected).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "data.sources: empty"),
        ({"classes": [{"name": "mass"}]}, r"classes\[0\]: expected the keys name and axis"),
        ({"classes": [*CLASSES, CLASSES[0]]}, "the name 'benign' stands 2 times"),
        ({"categories": [{"name": "mass"}]}, "data.categories: lacks 'calcification'"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], message: str, phantom_root: Path) -> None:
    with pytest.raises(UserError, match=message):
        opened(source("kinds", phantom_root, FINDING), **changes)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({**FINDING, "benign mass": "lump"}, "sources.a.own: 'lump' is no class of the label space"),
        (dict.fromkeys(FINDING), "sources.a.own: maps to no class"),
        ({"benign mass": "mass"}, r"a \(labels own\): data: the categories of .* must be the same"),
    ],
)
def test_a_table_that_does_not_fit_its_dataset_is_told(
    classes: dict[str, str | None], message: str, phantom_root: Path
) -> None:
    with pytest.raises(UserError, match=message):
        opened(source("a", phantom_root, classes))


def test_sources_that_do_not_fit_each_other_are_told(phantom_root: Path, tmp_path: Path) -> None:
    once = source("a", phantom_root, FINDING)
    with pytest.raises(UserError, match=r"'a' stands twice. Its folds differ by its labels"):
        opened(once, source("a", phantom_root, PATHOLOGY))
    with pytest.raises(
        UserError, match=r"data.sources: b .* is not a prepared dataset .*\+data.roots.b=FOLDER"
    ):
        opened(once, source("b", tmp_path, FINDING))
    root = tmp_path / "folds"
    shutil.copytree(phantom_root, root)
    folds = json.loads((root / "folds.json").read_text())
    for image in folds["images"].values():
        image["fold"] %= 3
    (root / "folds.json").write_text(json.dumps({**folds, "num_folds": 3}))
    with pytest.raises(UserError, match=r"different numbers of folds \(a has 5, c has 3\)"):
        opened(once, source("c", root, FINDING))
