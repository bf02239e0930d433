"""The commands around packages: made from runs, looked at, and predicted with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig

from cross_validation_runs import write_measured_run
from modise_lightning.configuration.model_files import locate_model
from modise_lightning.errors import UserError
from modise_lightning.info import info
from modise_lightning.package import package
from modise_lightning.packages.package import read_package
from modise_lightning.predict import predict
from modise_lightning.training.checkpoint import METADATA_KEY
from packages.packed import make_package, make_run, members_of

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of a model, the second of which is packed; its configuration names somebody's folders."""
    folder = tmp_path_factory.mktemp("runs")
    write_measured_run(folder / "0", "model", 0, shift=1)
    path = make_run(folder / "1", fold=1)
    content = torch.load(path, weights_only=True)
    config = yaml.safe_load(content[METADATA_KEY]["config"])
    config["data"]["root"] = "/somebody/patients"
    config["output_dir"] = "/somebody/runs"
    content[METADATA_KEY]["config"] = yaml.safe_dump(config)
    torch.save(content, path)
    return folder


def test_runs_become_a_package_that_says_what_it_is(
    runs: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned.yaml"
    tuned.write_text("inference: {score_threshold: 0.3}")
    output = tmp_path / "model.zip"
    settings = [f"runs={runs}", f"output={output}", "test_fold=1", f"settings={tuned}", "licence=apache-2.0"]
    settings += ["remarks=['<b>Film</b> was not seen.']", "comparison.bootstrap_samples=100"]
    package(compose_config("package", settings, tmp_path))
    found = read_package(output)
    assert found.settings.plain() == {"inference": {"score_threshold": 0.3}}
    assert found.evaluation is not None
    value, low, high = found.evaluation.numbers["PQ"]
    assert value is not None
    assert low is not None
    assert high is not None
    assert low <= value <= high
    results = [json.loads((runs / fold / "results.json").read_text()) for fold in ("0", "1")]
    of_folds = [each["results"]["trained"]["panoptic_quality"] for each in results]
    means = [sum(pair) / 2 for pair in zip(*of_folds, strict=True)]
    assert min(abs(value - mean) for mean in means) < 1e-9
    card = found.card or ""
    for text in (
        "license: apache-2.0",
        "synthetic phantom images; its predictions say nothing about patients",
        "evaluated: 0, 1",
        "the images of fold 1",
        "must not be used for diagnosis",
        r"\<b\>Film\</b\> was not seen.",
        "benign",
    ):
        assert text in card, text
    for name, data in members_of(output).items():
        assert b"somebody" not in data, name
    capsys.readouterr()
    info(compose_config("info", [f"model={output}"], tmp_path))
    printed = capsys.readouterr().out
    for text in ("package", "SYNTHETIC", "score_threshold: 0.3", "fold 0, 1", "benign mass"):
        assert text in printed
    info(compose_config("info", [f"model={runs}/1/checkpoints/best.ckpt"], tmp_path))
    assert "checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["test_fold=7"], "test_fold: 7 was not run; the runs have 0, 1"),
        (["settings=nowhere.yaml"], "settings: 'nowhere.yaml' cannot be read"),
        (["push=someone/model"], "push: 'someone/model' is not hf://owner/name"),
        (["test_fold=0"], "checkpoint: no file"),
        (["models=[trained,untrained]", "runs=nowhere"], "runs: no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_packed_is_told(
    changes: list[str], message: str, runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    settings = [f"runs={runs}", f"output={tmp_path / 'model.zip'}", *changes]
    with pytest.raises(UserError) as refused:
        package(compose_config("package", settings, tmp_path))
    assert message in str(refused.value)
    assert not (tmp_path / "model.zip").exists()


def test_two_models_are_not_one_package(runs: Path, compose_config: Compose, tmp_path: Path) -> None:
    write_measured_run(tmp_path / "other", "other", 0, shift=0)
    with pytest.raises(UserError, match="model on phantom, other on phantom"):
        package(compose_config("package", [f"runs=[{runs},{tmp_path}]"], tmp_path))


def test_a_package_predicts_as_its_checkpoint(
    runs: Path, compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    checkpoint = runs / "1" / "checkpoints" / "best.ckpt"
    packed = make_package(tmp_path / "model.zip", checkpoint, "inference: {score_threshold: 0.1}")
    image = sorted((phantom_root / "images").iterdir())[0]
    shared = [f"input={image}", "device=cpu", "num_workers=0", "export=[]"]
    threshold = "+overrides.inference.score_threshold=0.1"
    (one,) = predict(compose_config("predict", [f"model={packed}", *shared], tmp_path / "one"))
    (other,) = predict(
        compose_config("predict", [f"checkpoint={checkpoint}", threshold, *shared], tmp_path / "other")
    )
    contents = [json.loads(path.read_text()) for path in (one, other)]
    assert contents[0]["instances"]
    assert contents[0]["instances"] == contents[1]["instances"]
    assert contents[0]["segments"] == contents[1]["segments"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "checkpoint: name a trained model"),
        (["model=a.zip", "checkpoint=b.ckpt"], "exclude each other"),
        (["model=hf://a"], "is not hf://owner/name"),
        (["model=hf://nobody/nothing"], "neither in the local cache"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_is_named_once(
    command: str, settings: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    if command == "predict":
        settings = [*settings, "input=."]
    config = compose_config(command, settings, tmp_path)
    with pytest.raises(UserError, match=message):
        locate_model(config)
