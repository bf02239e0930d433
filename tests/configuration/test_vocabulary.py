"""Classes named on the command line, in files, and by datasets."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from modise_lightning.configuration.vocabulary import (
    MAXIMUM_CATEGORIES,
    fingerprint_of,
    read_vocabulary,
    vocabulary_for,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import Category

CYST = {"name": "cyst", "prompts": ["cyst", "simple cyst"], "isthing": True, "color": [1, 2, 3]}


def write(folder: Path, content: object) -> str:
    path = folder / "classes.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_the_checkpoints_own_classes_need_no_name() -> None:
    assert read_vocabulary(None) is None


def test_names_are_their_own_texts() -> None:
    found = read_vocabulary(OmegaConf.create(["spiculated mass", "cyst"]))
    assert found is not None
    assert [(each.name, each.prompts, each.isthing) for each in found] == [
        ("spiculated mass", ("spiculated mass",), True),
        ("cyst", ("cyst",), True),
    ]
    assert found[0].color != found[1].color


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_says_texts_things_and_colours(tmp_path: Path, wrapped: bool) -> None:
    nodes = [CYST, "lymph node", {"name": "skin", "isthing": False}]
    found = read_vocabulary(write(tmp_path, {"categories": nodes} if wrapped else nodes))
    assert found is not None
    assert found[0] == Category("cyst", ("cyst", "simple cyst"), True, (1, 2, 3))
    assert found[1].prompts == ("lymph node",)
    assert not found[2].isthing


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("cdd_cesm", ["benign", "malignant"]),
        (
            "cdd_cesm:finding",
            ["mass", "non-mass enhancement", "distortion", "asymmetry", "calcification", "other"],
        ),
        ("phantom", ["benign mass", "malignant mass", "calcification cluster"]),
    ],
)
def test_a_dataset_has_the_classes_of_its_configuration(setting: str, names: list[str]) -> None:
    found = read_vocabulary(setting)
    assert found is not None
    assert [category.name for category in found] == names
    assert all(len(category.prompts) > 1 for category in found)


@pytest.mark.parametrize(("name", "number", "things"), [("coco", 133, 80), ("ade20k", 150, 100)])
def test_shipped_vocabularies(name: str, number: int, things: int) -> None:
    found = read_vocabulary(name)
    assert found is not None
    assert len(found) == number
    assert sum(category.isthing for category in found) == things
    assert {category.name for category in found} >= (
        {"person", "tree-merged"} if name == "coco" else {"wall", "flag"}
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ([], "vocabulary: expected a list of at least one class"),
        (3, "vocabulary: expected a list"),
        (["cyst", "cyst"], "vocabulary: the name 'cyst' stands 2 times"),
        (
            [CYST, {"name": "mass", "prompts": ["Simple Cyst"]}],
            "'mass' and 'cyst' share the prompt",
        ),
        ([{"name": "cyst", "prompts": [" "]}], "vocabulary: 'cyst' has an empty prompt"),
        ([""], r"vocabulary\[0\]\.name: expected a text"),
        ([{"name": "cyst", "texts": ["cyst"]}], r"vocabulary\[0\]: expected the key name.*texts"),
        ([False], r"vocabulary\[0\]: expected the key name"),
        ([f"c{number}" for number in range(10_000)], f"10000 classes, more than {MAXIMUM_CATEGORIES}"),
        (
            [{"name": "c", "prompts": [f"t{number}" for number in range(20_001)]}],
            "20001 texts, more than 20000",
        ),
        ("cyst", r"'cyst' is neither a vocabulary \(ade20k, coco\), nor a dataset \(.*'vocabulary=\[cyst\]'"),
        ("../data/phantom", "is neither a vocabulary"),
        ("coco_panoptic", "the classes of 'coco_panoptic' stand in its files"),
        ("missing.yaml", "'missing.yaml' cannot be read"),
    ],
)
def test_a_mistake_is_one_line(setting: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_vocabulary(setting)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- caf\xe9\n", "is not UTF-8"),
        (b"\xff\xfe-\x00 \x00", "is not UTF-8"),
        (b"- [cyst\n", "is no YAML"),
        (b"&a [*a]\n", "YAML aliases"),
        (b"- &a cyst\n- *a\n", "YAML aliases"),
        (b"!!python/object/apply:os.system ['touch marker']\n", "is no YAML"),
        (b"[" * 1000, "is no YAML"),
        (b"", "expected a list of at least one class"),
        (b"mass: text\n", "expected a list of at least one class"),
        (b"- no\n", r"classes.yaml\[0\]: expected the key name"),
        (b" " * (5 * 2**20), "more than 4194304 bytes"),
    ],
)
def test_a_bad_file_is_one_line_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_vocabulary("classes.yaml")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "marker").exists()


def test_an_evaluation_keeps_the_datasets_classes_in_their_order() -> None:
    own = (Category("mass", ("mass",), True, (1, 1, 1)), Category("skin", ("skin",), False, (2, 2, 2)))
    named = (Category("skin", ("thick skin",)), Category("mass", ("lump", "nodule")))
    assert vocabulary_for(None, own) is own
    assert vocabulary_for(named, own) == (
        Category("mass", ("lump", "nodule"), True, (1, 1, 1)),
        Category("skin", ("thick skin",), False, (2, 2, 2)),
    )
    with pytest.raises(UserError, match="lacks the dataset's 'skin'"):
        vocabulary_for(named[1:], own)
    with pytest.raises(UserError, match="has what the dataset does not annotate, 'cyst'"):
        vocabulary_for((*named, Category("cyst", ("cyst",))), own)


def test_a_fingerprint_tells_texts_apart() -> None:
    first, second = Category("a", ("b", "c")), Category("a", ("b",))
    assert fingerprint_of([first]) == fingerprint_of([first]) != fingerprint_of([second])
