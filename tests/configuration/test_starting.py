"""A training that starts from a checkpoint has all its weights but the classes'."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from modise_lightning.configuration.assembly import build_module, build_segmenter, check_weights
from modise_lightning.configuration.starting import read_start, start_from
from modise_lightning.errors import UserError
from modise_lightning.train import train
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint, state_fingerprint
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
LEARNED = ["backbone=swin_tiny", "text=learned", "captioner=none"]
TEXT = ["backbone=swin_tiny", "text=clip_tiny", "captioner=none"]
TWO = [
    "data.categories=[{name: cyst, prompts: [cyst, simple cyst], isthing: true, color: [1, 2, 3]},"
    "{name: lymph node, prompts: [lymph node], isthing: true, color: [4, 5, 6]}]"
]


def compose_start(compose_config: Compose, folder: Path, *overrides: str) -> DictConfig:
    return compose_config("train", [*overrides, "data.root=data"], folder)


_WRITTEN: dict[tuple[str, ...], bytes] = {}


def write(compose_config: Compose, path: Path, *overrides: str) -> dict[str, Any]:
    """Write a checkpoint with random weights, as a run does; of each model one is made."""
    if overrides not in _WRITTEN:
        config = compose_start(compose_config, path.parent, *overrides)
        torch.manual_seed(1)
        module = build_module(config, build_segmenter(config), {"name": "phantom", "synthetic": True})
        checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(checkpoint)
        stream = io.BytesIO()
        torch.save(checkpoint, stream)
        _WRITTEN[overrides] = stream.getvalue()
    path.write_bytes(_WRITTEN[overrides])
    return read_checkpoint(path)


def started(config: DictConfig) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str]:
    """Give the weights before and after, and what is told."""
    start = read_start(config)
    assert start is not None
    torch.manual_seed(0)
    segmenter = build_segmenter(config)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    line = start_from(start, segmenter, config)
    return before, segmenter.state_dict(), line


def test_a_learned_classifier_starts_fresh_on_other_classes(compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint = write(compose_config, path, *LEARNED)
    config = compose_start(compose_config, tmp_path, *LEARNED, *TWO, f"init={path}")
    before, after, line = started(config)
    fresh = {"classifier.linear.weight", "classifier.linear.bias"}
    assert after.keys() == before.keys()
    for name, value in after.items():
        source = before if name in fresh else checkpoint["state_dict"]
        assert torch.equal(value, source[name if name in fresh else f"segmenter.{name}"]), name
    assert after["classifier.linear.weight"].shape[0] == 3
    assert "fresh for other classes: classifier.linear.bias, classifier.linear.weight" in line
    assert f"{len(after) - 2} weights taken" in line
    assert config.init_fingerprint == state_fingerprint(checkpoint["state_dict"])
    assert config.init_fingerprint in line
    assert "other ones" not in line


def test_a_learned_classifier_of_the_same_classes_is_taken(compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint = write(compose_config, path, *LEARNED)
    _, after, line = started(compose_start(compose_config, tmp_path, *LEARNED, f"init={path}"))
    for name, value in after.items():
        assert torch.equal(value, checkpoint["state_dict"][f"segmenter.{name}"]), name
    assert "fresh for other classes: none" in line


def test_texts_of_other_classes_are_encoded_and_all_that_is_trained_is_taken(
    compose_config: Compose, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint = write(compose_config, path, *TEXT)
    before, after, line = started(compose_start(compose_config, tmp_path, *TEXT, *TWO, f"init={path}"))
    assert after["classifier.prompt_categories"].tolist() == [0, 0, 1]
    texts = {"classifier.text_embeddings", "classifier.prompt_categories"}
    frozen = before.keys() - {name.removeprefix("segmenter.") for name in checkpoint["state_dict"]}
    for name, value in after.items():
        if name in texts or name in frozen:
            assert torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, checkpoint["state_dict"][f"segmenter.{name}"]), name
    assert "classifier.null_embedding" in after
    assert "fresh for other classes: none; the classes' texts are encoded anew" in line


def test_other_frozen_weights_are_told(compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(compose_config, path)
    same = started(compose_start(compose_config, tmp_path, f"init={path}"))[2]
    assert "other ones" not in same
    other = started(compose_start(compose_config, tmp_path, "backbone.seed=1", f"init={path}"))[2]
    assert "its frozen weights were other ones" in other


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mask_generator.num_queries=9"], r"mask_generator\.num_queries \(there 20, here 9\)"),
        # Shapes do not show these.
        (["mask_generator.num_heads=2"], r"mask_generator\.num_heads \(there 4, here 2\)"),
        (["mask_generator.pre_norm=true"], r"mask_generator\.pre_norm"),
        (["backbone.architecture.embed_dim=16"], r"backbone\.architecture\.embed_dim \(there 32, here 16\)"),
        (["text=clip_tiny", "captioner=none"], r"text\.classifier\._target_"),
        (["backbone=sd_tiny"], r"backbone\._target_ .* and \d+ more"),
        (["resume=x.ckpt"], "init and resume exclude each other"),
        (
            ["init_fingerprint=0123456789abcdef"],
            "holds the weights .* init_fingerprint names 0123456789abcdef",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(
    overrides: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    path = tmp_path / "a.ckpt"
    write(compose_config, path, *LEARNED)
    config = compose_start(compose_config, tmp_path, *LEARNED, *overrides, f"init={path}")
    with pytest.raises(UserError, match=message) as told:
        started(config)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone.weights=checkpoint"], "none is given"),
        (["init_fingerprint=abc"], "init_fingerprint: is of the weights of init"),
        (["init=nowhere.ckpt"], "init: no file 'nowhere.ckpt'"),
    ],
)
def test_settings_that_need_each_other(
    overrides: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_start(compose_start(compose_config, tmp_path, *LEARNED, *overrides))


def test_no_checkpoint_brings_the_weights_of_a_frozen_part(compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(compose_config, path)
    config = compose_start(compose_config, tmp_path, "backbone.weights=checkpoint", f"init={path}")
    check_weights(config)
    with pytest.raises(UserError, match=r"backbone: no file or folder 'checkpoint'"):
        build_segmenter(config)


QUERIES = "segmenter.mask_generator.transformer_module.queries_features.weight"
CLASSES = "segmenter.classifier.linear.weight"
DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing": (lambda state: state.pop(QUERIES), r"missing: \['mask_generator.*queries_features"),
    "unexpected": (lambda state: state.update({"segmenter.x": torch.zeros(1)}), r"unexpected: \['x'\]"),
    "shape": (
        lambda state: state.update({QUERIES: state[QUERIES][:, :-1]}),
        r"there \(20, 63\), here \(20, 64\)",
    ),
    "double": (lambda state: state.update({QUERIES: state[QUERIES].double()}), "not what was written"),
    "nan": (lambda state: state.update({QUERIES: state[QUERIES] * torch.nan}), "not what was written"),
    "sparse": (lambda state: state.update({QUERIES: state[QUERIES].to_sparse()}), "not what was written"),
    # A class tensor may have another shape, but cannot fill the memory.
    "vast": (lambda state: state.update({CLASSES: torch.zeros(1).expand(10**12)}), "not what was written"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_changes_nothing(damage: str, compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint = write(compose_config, path, *LEARNED)
    change, message = DAMAGES[damage]
    change(checkpoint["state_dict"])
    torch.save(checkpoint, path)
    config = compose_start(compose_config, tmp_path, *LEARNED, *TWO, f"init={path}")
    start = read_start(config)
    assert start is not None
    segmenter = build_segmenter(config)
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    with pytest.raises(UserError, match=message):
        start_from(start, segmenter, config)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    assert config.init_fingerprint is None


def test_a_run_says_what_it_started_from_and_so_does_the_resumed_one(
    compose_config: Compose, phantom_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ckpt"
    checkpoint = write(compose_config, path, *LEARNED)
    expected = state_fingerprint(checkpoint["state_dict"])
    settings = [*LEARNED, *phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]"]
    first = tmp_path / "first"
    train(compose_config("train", [*settings, f"init={path}"], first))
    assert f"{expected}" in " ".join(capsys.readouterr().out.split())
    assert json.loads((first / "results.json").read_text())["measurement"]["init_fingerprint"] == expected
    config = read_checkpoint(first / "checkpoints" / "last.ckpt")[METADATA_KEY]["config"]
    assert f"init_fingerprint: {expected}" in config
    path.unlink()  # nothing is read from it any more
    second = tmp_path / "second"
    resume = f"resume={first / 'checkpoints' / 'last.ckpt'}"
    longer = [*settings, resume, "trainer.max_epochs=2"]
    with pytest.raises(UserError, match=rf"init_fingerprint \(there {expected}, here 0123\)"):
        train(compose_config("train", [*longer, "init_fingerprint='0123'"], second))
    train(compose_config("train", longer, second))
    assert json.loads((second / "results.json").read_text())["measurement"]["init_fingerprint"] == expected


def test_half_a_file_is_told(compose_config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(compose_config, path, *LEARNED)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"init: '.*a\.ckpt' cannot be read safely"):
        read_start(compose_start(compose_config, tmp_path, *LEARNED, f"init={path}"))
