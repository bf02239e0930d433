"""The configuration in a checkpoint is data: it builds parts of the library and nothing else."""

from __future__ import annotations

import functools
import operator
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from modise_lightning.configuration.assembly import build_segmenter
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.stored_config import _check_resolvers, _check_targets, read_stored_config
from modise_lightning.configuration.stored_targets import STORED_CALLBACKS, STORED_TARGETS, may_be_built
from modise_lightning.configuration.trained_model import load_trained
from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.predict import predict
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint

Compose = Callable[..., DictConfig]


def save(path: Path, config: str) -> Path:
    """Write a checkpoint that has a configuration and no weights."""
    dataset = {"name": "phantom", "synthetic": True}
    metadata = {"config": config, "dataset": dataset, "frozen_weights": ""}
    torch.save({METADATA_KEY: metadata, "state_dict": {}}, path)
    return path


def read(config: DictConfig, **options: Any) -> DictConfig:
    return read_stored_config(Path("best.ckpt"), OmegaConf.to_yaml(config), {}, **options)


@pytest.mark.parametrize("experiment", ["m2f_swin_l", "m2f_sd", "odise", "m_odise"])
@pytest.mark.parametrize("data", ["phantom", "cdd_cesm", "vindr_mammo"])
def test_what_is_written_today_can_be_read(
    experiment: str, data: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [f"experiment={experiment}", f"data={data}"], tmp_path)
    config.name, config.output_dir = config.name, config.output_dir
    found = read(config)
    assert found.backbone == config.backbone
    assert found.data.auto_prepare is False
    assert "callbacks" not in found


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={path.stem}"
        for group in ("data", "backbone", "captioner", "text", "trainer", "logger", "feature_store")
        for path in sorted((config_directory() / group).glob("*.yaml"))
        if path.stem != "base"
    ],
)
def test_every_choice_may_stand_in_a_checkpoint(choice: str, compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [choice], tmp_path)
    _check_targets(tmp_path, config, [], resolve=False)
    _check_resolvers(tmp_path, OmegaConf.create({**config, "name": "", "output_dir": ""}))


def test_every_shipped_target_is_allowed_where_it_is_shipped_and_no_other_is_listed() -> None:
    shipped = set()
    for path in config_directory().rglob("*.yaml"):
        if path.parent.name in ("fusion", "views"):
            continue  # of commands that take checkpoints, and in none
        shipped |= set(re.findall(r"^\s*_target_: ([\w.]+)", path.read_text(), flags=re.MULTILINE))
    listed = set().union(*STORED_TARGETS.values()) | STORED_CALLBACKS
    before = {"lightning.pytorch.callbacks.ModelCheckpoint"}
    assert listed == (shipped - {"null"}) | before


MARK = "touch marker"
RUN = {"_target_": "torch.utils.collect_env.run", "command": MARK}
ATTACKS: dict[str, tuple[str, object]] = {
    "nested": ("inference.max_instances", {"_target_": "numpy.size", "a": RUN}),
    "unlink": ("inference.max_instances", {"_target_": "pathlib.Path.unlink", "self": "marker"}),
    "sympify": ("criterion.num_points", {"_target_": "sympy.sympify", "a": "open('marker', 'w')"}),
    "read_pickle": (
        "data.categories",
        {"_target_": "pandas.read_pickle", "filepath_or_buffer": "data://;base64,AA=="},
    ),
    "system": ("backbone._target_", "os.system"),
    "module of the working directory": ("captioner._target_", "evil_module.run"),
    "in a list": ("metrics.thresholds", [0.5, RUN]),
    "deep in a list": ("metrics.thresholds", [[[{"a": [RUN]}]]]),
    "in callbacks": ("callbacks.mine", RUN),
    "in the logger": ("logger", RUN),
    "in the trainer": ("trainer.callbacks", [RUN]),
    "in the preparer": ("data.preparer", RUN),
    "beside everything": ("anything.at.all", RUN),
    "of the library, elsewhere": (
        "inference.max_instances",
        {"_target_": "modise_lightning.feature_store.disk.DiskFeatureStore", "folder": "marker"},
    ),
    "of lightning, elsewhere": ("text.encoder", {"_target_": "lightning.pytorch.Trainer"}),
    "through a value": ("inference._target_", "${evil}"),
    "through a node": ("inference.max_instances", "${backbone}"),
    "a list as target": ("inference._target_", ["os.system"]),
    "a dict as target": ("inference._target_", {"a": "os.system"}),
    "arguments": ("inference._args_", [1]),
    "recursion": ("inference._recursive_", False),
    "conversion": ("inference._convert_", "object"),
    "partial": ("inference._partial_", [1]),
    "environment": ("name", "${oc.env:TOKEN}"),
    "environment, nested": ("name", "${oc.${kind}:TOKEN}"),
    "environment, in a list": ("data.categories", ["${oc.env:TOKEN,x}"]),
    "decoding": ("name", "a ${oc.decode:'1'} b"),
    "hydra": ("name", "${hydra:runtime.cwd}"),
    "itself": ("name", "${name}"),
    "an unfolding text": ("name", "${fold10}${fold10}${fold10}"),
}


def poisoned(config: DictConfig, key: str, value: object) -> str:
    content: Any = OmegaConf.to_container(config, resolve=False)
    content |= {"evil": "os.system", "kind": "env", "fold0": "x" * 10_000}
    content |= {f"fold{n}": f"${{fold{n - 1}}}${{fold{n - 1}}}" for n in range(1, 30)}
    if value == "${fold10}${fold10}${fold10}":
        value = "${fold29}"
    else:
        content = {
            name: item for name, item in content.items() if not name.startswith("fold") or name == "fold"
        }
    parent = content
    *parents, last = key.split(".")
    for part in parents:
        parent = parent.setdefault(part, {})
    parent[last] = value
    text: str = yaml.safe_dump(content)
    return text


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_strangers_checkpoint_runs_nothing(
    attack: str, compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TOKEN", "a-secret")
    (tmp_path / "evil_module.py").write_text("open('marker', 'w')\nrun = print\n")
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "stranger", "somewhere"
    key, value = ATTACKS[attack]
    path = save(tmp_path / "best.ckpt", poisoned(config, key, value))
    with pytest.raises(UserError, match=r"^checkpoint: .*best\.ckpt'") as told:
        load_trained(path, {})
    assert not (tmp_path / "marker").exists()
    assert "\n" not in str(told.value)
    assert "a-secret" not in str(told.value)
    assert "another version" not in str(told.value)
    if isinstance(value, str) and "$" not in value:
        assert f"{key}={value}" in str(told.value)


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_commands_refuse_it(
    command: str, compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "stranger", "somewhere"
    path = save(tmp_path / "best.ckpt", poisoned(config, "inference.max_instances", RUN))
    image = [f"input={config_directory().parent}/docs/images/report.png"] if command == "predict" else []
    composed = compose_config(command, [f"checkpoint={path}", *image], tmp_path)
    with pytest.raises(UserError, match="nothing of it was imported or run"):
        {"predict": predict, "evaluate": evaluate}[command](composed)
    assert not (tmp_path / "marker").exists()


def test_a_plug_in_is_built_when_the_user_trusts_it(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "plug-in", "somewhere"
    name = "modise_lightning.metrics.evaluation.SegmentationMetrics.__init__"
    config.callbacks = {"mine": {"_target_": "my_package.Mine"}}
    with pytest.raises(UserError, match=r"trusted_targets='\[my_package\.Mine\]'"):
        read(config)
    assert read(config, trusted_targets=["my_package.Mine"]).metrics == config.metrics
    assert not may_be_built(name, "metrics")


def test_a_file_does_not_decide_where_a_dataset_is_made(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "stranger", "somewhere"
    assert config.data.auto_prepare
    text = OmegaConf.to_yaml(config)
    assert not read_stored_config(Path("a"), text, {}).data.auto_prepare
    assert read_stored_config(Path("a"), text, {"data": {"auto_prepare": True}}).data.auto_prepare


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is damaged"),
        ("a: ${", "is damaged"),
        ("- 1", "is a list"),
        ("1", "is damaged"),
        ("", "missing"),
        ("a: !!python/object/apply:os.system [touch marker]", "is damaged"),
        ("a: &x [1]\nb: [*x, *x]", "YAML aliases"),
        ("[" * 3000, "is damaged"),
        ("a: " + "x" * 2_000_000, "has 2000003 characters"),
    ],
)
def test_damaged_configurations_are_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_trained(save(tmp_path / "best.ckpt", text), {})


class Evil:
    """Its pickle touches a file when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:  # noqa: D105
        return Path.touch, (Path("marker"),)


def test_a_pickle_with_code_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({METADATA_KEY: Evil(), "state_dict": {}}, tmp_path / "archive.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Evil()))
    for name in ("archive.ckpt", "plain.ckpt"):
        with pytest.raises(UserError, match="cannot be read safely"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_dict": [1]}, "state_dict: Input should be a valid dictionary"),
        ({"state_dict": {"a": 1}}, "state_dict.a: "),
        ({METADATA_KEY: None}, "modise_lightning: "),
        ({METADATA_KEY: []}, "modise_lightning: "),
        ({METADATA_KEY: {"config": 1}}, "modise_lightning.config: "),
        ({METADATA_KEY: {"config": "", "dataset": {}, "frozen_weights": ""}}, "dataset.name: Field required"),
    ],
)
def test_entries_of_a_wrong_type_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = torch.load(save(tmp_path / "a.ckpt", ""), weights_only=True)
    torch.save({**content, **changes}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "a.ckpt")


def test_an_archive_that_unfolds_is_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", "x" * 2_000_000)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "b.ckpt", "w") as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "b.ckpt").stat().st_size < 10_000
    with pytest.raises(UserError, match="unfold"):
        read_checkpoint(tmp_path / "b.ckpt")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("optimizer.fused", r"optimizer: .*OptimizerFactory also needs fused\."),
        ("mask_generator.num_queries", "mask_generator: .*also needs num_queries"),
        ("metrics.matching", "metrics: .*also needs matching"),
        ("text.classifier.temperature", r"text\.classifier: .*also needs temperature"),
        ("backbone.projection_channels", "backbone: .*also needs projection_channels"),
        ("inference", "inference: missing"),
        # Of before there were protocols.
        ("backbone.identity_shortcut", r"backbone: .*also needs identity_shortcut"),
        ("inference.no_object_competes", r"inference: .*also needs no_object_competes"),
        ("data.module.size_multiple", r"data\.module: .*also needs size_multiple"),
        ("protocol", r".*protocol.*not found"),
        ("criterion._target_", "criterion: a _target_ is expected"),
        ("backbone._target_", "backbone: a _target_ is expected"),
        ("inference._partial_", r"inference: .*also needs|inference\._partial_: true is expected"),
        ("text.classifier._partial_", r"text\.classifier: .*also needs|text\.classifier\._partial_: true"),
        ("clip_head.enabled", r"clip_head\.enabled: missing"),
        ("name", "name: missing"),
        ("output_dir", "output_dir: missing"),
        ("text.encoder", r"text\.encoder: missing"),
        ("clip_head.template", r"clip_head\.template: missing"),
    ],
)
def test_a_key_that_it_lacks_is_named(
    key: str, message: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "old", "somewhere"
    *parents, last = key.split(".")
    parent = OmegaConf.select(config, ".".join(parents)) if parents else config
    with open_dict(config):
        del parent[last]
    with pytest.raises(UserError, match=f"best.ckpt' was written by another version of .*, {message}"):
        read(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["text.encoder=null"], r"TextSimilarityClassifier needs a text encoder\. Choose both with text="),
        (
            ["text=learned", "captioner=none", "text.encoder={_target_: builtins.dict}"],
            r"LearnedClassifier needs no text encoder\. Choose both",
        ),
        (["captioner.architecture.vision_cfg.patch_size=0"], r"captioner: open_clip cannot build .*zero"),
        (["backbone.architecture.vae=null"], r"backbone\.architecture\.vae: missing"),
        (["captioner.architecture.vision_cfg=null"], r"captioner\.architecture: expected open_clip"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    overrides: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        build_segmenter(compose_config("train", overrides, tmp_path))


@pytest.mark.parametrize("value", [False, "x", 3, [1]])
@pytest.mark.parametrize(
    "group", ["backbone", "captioner", "text", "criterion", "metrics", "data", "data.module", "clip_head"]
)
def test_a_group_that_is_a_single_value_is_named(
    group: str, value: object, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("train", [], tmp_path)
    config.name, config.output_dir = "old", "somewhere"
    tree = OmegaConf.to_container(config, resolve=True)
    *parents, last = group.split(".")
    functools.reduce(operator.getitem, parents, tree)[last] = value  # type: ignore[index]
    with pytest.raises(UserError, match=rf"written by another version of .*, {group}: a group of settings"):
        read(OmegaConf.create(tree))


def test_loading_tells_it(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config("train", [], tmp_path)
    config.optimizer.decay = "never"
    config.name, config.output_dir = "old", "somewhere"
    path = save(tmp_path / "best.ckpt", OmegaConf.to_yaml(config))
    with pytest.raises(UserError, match=r"another version of .*optimizer\.decay: expected .*'never'") as told:
        load_trained(path, {})
    assert "\n" not in str(told.value)
