"""The shipped label space fits the shipped datasets, and the sources of joint data are found."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from joint_sources import joint_overrides
from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.config_check import check_config
from modise_lightning.configuration.joint_data import find_members, warn_of_shared_patients
from modise_lightning.data.prepared.label_space import shared_classes
from modise_lightning.errors import UserError
from modise_lightning.text.prompts import flatten_prompts

Compose = Callable[..., DictConfig]


def label_space() -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(config_directory() / "label_space" / "breast.yaml"))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def labellings() -> Iterator[tuple[str, str]]:
    for name, tables in label_space()["sources"].items():
        for labels in tables:
            yield name, labels


@pytest.mark.parametrize(("name", "labels"), list(labellings()))
def test_a_table_has_the_classes_of_its_dataset(
    name: str, labels: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [f"data={name}"], tmp_path)
    table = label_space()["sources"][name][labels]
    own = config.data.category_sets[labels] if "category_sets" in config.data else config.data.categories
    assert list(table) == [category.name for category in own]
    known = {each["name"] for each in label_space()["classes"]}
    assert {shared for shared in table.values() if shared is not None} <= known


def test_every_labelling_of_every_dataset_has_a_table(compose_config: Compose, tmp_path: Path) -> None:
    found = []
    for file in sorted((config_directory() / "data").glob("*.yaml")):
        if file.stem in ("base", "coco_panoptic", "joint"):
            continue
        config = compose_config("train", [f"data={file.stem}"], tmp_path)
        found += [(file.stem, labels) for labels in config.data.get("category_sets", [])]
    assert set(found) == {pair for pair in labellings() if pair[0] != "phantom"}


def test_classes_have_texts_of_their_own_on_two_axes() -> None:
    classes = label_space()["classes"]
    categories = shared_classes(classes)
    assert len(flatten_prompts(categories)[0]) > len(categories)
    assert [each["axis"] for each in classes] == ["suspicion"] * 4 + ["kind"] * 5
    assert len({category.color for category in categories}) == len(categories)


def composed(compose_config: Compose, tmp_path: Path, *overrides: str) -> DictConfig:
    return compose_config("train", ["data=joint", *overrides], tmp_path)


def test_sources_are_found_where_their_own_configurations_say(
    compose_config: Compose, tmp_path: Path
) -> None:
    chosen = "data.sources=[cdd_cesm,vindr_mammo:finding]"
    config = composed(compose_config, tmp_path, chosen, "data.normals=evaluation")
    check_config(config)
    find_members(config)
    members = [(each.name, each.labels, Path(each.root)) for each in config.data.members]
    assert members == [
        ("cdd_cesm", "pathology", Path("data/cdd_cesm_pathology_with_normals").resolve()),
        ("vindr_mammo", "finding", Path("data/vindr_mammo_finding_with_normals").resolve()),
    ]
    # As in a checkpoint: found once, they move with data.roots alone.
    OmegaConf.update(config, "data.roots.cdd_cesm", "/elsewhere", force_add=True)
    OmegaConf.update(config, "data.sources", ["phantom"])
    find_members(config)
    assert [each.root for each in config.data.members] == ["/elsewhere", str(members[1][2])]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.sources=[lidc]"], "data.sources: the label space has no table of 'lidc'; it has cdd_cesm, "),
        (["data.sources=[cdd_cesm:birads]"], "no labels 'birads'; it has pathology, finding"),
        (
            ["data.sources=[cdd_cesm]", "+data.roots.inbreast=x"],
            "data.roots: 'inbreast' is none of data.sources",
        ),
        (
            ["data.sources=[mine]", "+data.label_space.sources.mine={own: {lump: mass}}"],
            r"data.roots: where is 'mine'\? Give \+data.roots.mine=FOLDER",
        ),
        (["data.normals=all"], "data.normals: 'all' is not for data=joint"),
        (["data.roots=folder"], "data.roots: expected names with values, found 'folder'"),
        (["data.sources=[a]", "+data.label_space.sources.a=b"], "sources.a: expected a table a labelling"),
        (
            ["data.sources=[a]", "+data.label_space.sources.a={b: c}"],
            "sources.a.b: expected the dataset's classes",
        ),
        (["data.members=[a]"], r"data.members: expected a list of sources, .*; found \"\['a'\]\""),
        (["data.members={a: b}"], "data.members: expected a list of sources"),
        (
            ["data.members=[{name: a, labels: b, root: 1, classes: {c: mass}}]"],
            "data.members: expected a list of sources",
        ),
    ],
)
def test_what_cannot_be_found_is_told(
    overrides: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        find_members(composed(compose_config, tmp_path, *overrides))


@pytest.mark.parametrize(
    ("overrides", "warned"),
    [
        (["data.sources=[vindr_mammo]", "backbone=mame"], "vindr_mammo are also in Likalto4/fusion_healthy"),
        (["data.sources=[vindr_mammo]", "backbone=sd"], None),
        (["data.sources=[cdd_cesm]", "backbone=mame"], None),
        (
            [
                "data.sources=[tompei_cmmd,cmmd]",
                "+data.label_space.sources.cmmd={own: {malignant: malignant}}",
                "+data.roots.cmmd=x",
            ],
            "tompei_cmmd are also in cmmd",
        ),
    ],
)
def test_patients_in_two_places_are_named(
    overrides: list[str],
    warned: str | None,
    compose_config: Compose,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = composed(compose_config, tmp_path, *overrides)
    find_members(config)
    warn_of_shared_patients(config)
    told = capsys.readouterr().err
    assert (warned in told) if warned else not told


def test_batches_say_what_their_sources_annotate(
    compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    data = build_data(compose_config("train", joint_overrides(phantom_root), tmp_path))
    expected = {"phantom": [False, False, True, True], "other": [True, True, False, False]}
    seen = set()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            for record, target in zip(batch.records, batch.targets, strict=True):
                assert record.source is not None
                assert target.annotated is not None
                assert target.annotated.tolist() == expected[record.source]
                seen.add(record.source)
    assert seen == set(expected)
    assert len(data.training_sampler()) == len(data.indices["train"])
