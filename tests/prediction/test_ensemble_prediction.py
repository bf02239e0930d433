"""Several checkpoints and several views of an image predict as one model."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from modise_lightning.configuration.assembly import build_data
from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.configuration.config_check import check_config
from modise_lightning.configuration.ensembles import find_checkpoints, read_ensemble
from modise_lightning.errors import UserError
from modise_lightning.inference.views import ViewSettings
from modise_lightning.predict import predict
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint
from modise_lightning.training.ensemble_module import EnsembleModule
from shipped_inference import shipped_fusion

pytestmark = pytest.mark.xdist_group("folds")
Compose = Callable[..., DictConfig]
PLAIN = ViewSettings(["none"], [1.0])
# Models that are not trained are sure of nothing.
UNSURE = {"inference": {"score_threshold": 0.01, "overlap_threshold": 0, "mask_threshold": 0.05}}


@pytest.fixture
def run(fold_runs: Path, compose_config: Compose, tmp_path: Path) -> Callable[..., Path]:
    """Predict two images into a folder, which is given."""

    def predicted(checkpoint: str, *overrides: str, out: str = "out") -> Path:
        folder = tmp_path / out
        unsure = [f"+overrides.inference.{key}={value}" for key, value in UNSURE["inference"].items()]
        settings = [f"checkpoint={checkpoint}", f"input={tmp_path / 'images'}", "device=cpu", *unsure]
        predict(compose_config("predict", [*settings, "num_workers=0", *overrides], folder))
        return folder

    return predicted


@pytest.fixture
def images(phantom_root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted((phantom_root / "images").glob("*.png"))[:2]:
        shutil.copy(path, folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("phantom_*") if path.suffix == ".png"}


def test_a_folder_of_folds_predicts_with_uncertainty_and_goes_on_where_it_was(
    fold_runs: Path, images: Path, run: Callable[..., Path]
) -> None:
    out = run(str(fold_runs))
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert rows
    for row in rows:
        assert 0 <= float(row["disagreement"]) <= float(row["uncertainty"]) <= 1
    documents = [json.loads(path.read_text()) for path in sorted(out.glob("phantom_*.json"))]
    assert len(documents) == 2
    for document in documents:
        picture = cv2.imread(str(out / document["uncertainty_picture"]))
        assert picture is not None
        assert len(np.unique(picture)) > 10
        assert 0 <= document["disagreement"] <= document["uncertainty"] <= 1
        assert document["disagreement"] > 0
        assert all("uncertainty" in segment for segment in document["segments"])
        assert document["model"]["checkpoint"] == [
            str(fold_runs / fold / "checkpoints" / "best.ckpt") for fold in "01"
        ]
        assert document["model"]["model"].endswith("(ensemble of 2)")

    def changed(checkpoint: str, *overrides: str) -> int:
        times = {path: path.stat().st_mtime_ns for path in out.glob("phantom_*.json")}
        run(checkpoint, *overrides)
        return sum(path.stat().st_mtime_ns != time for path, time in times.items())

    both = ",".join(str(fold_runs / fold / "checkpoints" / "best.ckpt") for fold in "01")
    assert changed(f"[{both}]") == 0
    assert changed(str(fold_runs), "views=flip") == 2
    assert changed(str(fold_runs / "0"), "views=flip") == 2


def test_one_checkpoint_in_a_folder_or_a_list_is_the_checkpoint(
    fold_runs: Path, images: Path, run: Callable[..., Path]
) -> None:
    path = fold_runs / "0" / "checkpoints" / "best.ckpt"
    expected = content(run(str(path)))
    assert not [name for name in expected if "uncertainty" in name]
    assert content(run(f"[{fold_runs / '0'}]", out="list")) == expected


def fold_batch(fold_runs: Path) -> Any:
    first = read_ensemble(str(fold_runs / "0"), {})
    data = build_data(first.config)
    return next(iter(data.evaluation_dataloader("test")))


def test_an_ensemble_is_what_its_members_say_and_shares_what_is_frozen(fold_runs: Path) -> None:
    batch = fold_batch(fold_runs)
    alone = [read_ensemble(str(fold_runs / fold), UNSURE).build(PLAIN, shipped_fusion()) for fold in "01"]
    together = read_ensemble(str(fold_runs), UNSURE).build(PLAIN, shipped_fusion(minimum_score=0.0))
    assert isinstance(together, EnsembleModule)
    first, second = together.members
    counted: list[int] = []
    for member in together.members:
        member.segmenter.backbone.vae.register_forward_hook(lambda *_: counted.append(1))  # type: ignore[union-attr, operator]
    with torch.inference_mode():
        found = together.predict_batch(batch)
        expected = [module.predict_batch(batch) for module in alone]
    assert len(counted) == 1  # the frozen features of a batch are computed once for both
    for index, prediction in enumerate(found):
        mean = torch.stack([own[index].semantic for own in expected]).mean(0)
        assert torch.allclose(prediction.semantic, mean, atol=1e-5)
    frozen = {name: own for name, own in first.named_parameters() if not own.requires_grad}
    assert frozen
    for name, own in second.named_parameters():
        assert (own is frozen.get(name)) != own.requires_grad


def test_weights_decide_and_equal_members_are_one(fold_runs: Path, tmp_path: Path) -> None:
    batch = fold_batch(fold_runs)
    # The same model under another name.
    copied = tmp_path / "copy.ckpt"
    shutil.copy(fold_runs / "0" / "checkpoints" / "best.ckpt", copied)
    (alone,) = (read_ensemble(str(fold_runs / "0"), UNSURE).build(PLAIN, shipped_fusion()),)
    fusion = shipped_fusion(minimum_score=0.0)
    twice = read_ensemble([str(fold_runs / "0"), str(copied)], UNSURE).build(PLAIN, fusion)
    leaning = read_ensemble(str(fold_runs), UNSURE).build(
        PLAIN, shipped_fusion(minimum_score=0.0, weights=[1.0, 1e-9])
    )
    with torch.inference_mode():
        expected = alone.predict_batch(batch)
        for module in (twice, leaning):
            for own, other in zip(module.predict_batch(batch), expected, strict=True):
                assert torch.allclose(own.semantic, other.semantic, atol=1e-5)
                assert torch.allclose(own.instances.scores, other.instances.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("choice", "number"), [("none", 1), ("flip", 2), ("flips", 4), ("scales", 3), ("flip_and_scales", 6)]
)
def test_every_choice_of_views_looks_as_often_as_it_says(
    choice: str, number: int, fold_runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    batch = fold_batch(fold_runs)
    config = compose_config("predict", [f"views={choice}", "checkpoint=a", "input=b"], tmp_path)
    check_config(config)
    views, fusion = instantiate(config.views), instantiate(config.fusion)
    module = read_ensemble(str(fold_runs / "0"), UNSURE).build(views, fusion)
    member = module.members[0] if isinstance(module, EnsembleModule) else module
    seen: list[torch.Size] = []
    member.segmenter.backbone.register_forward_pre_hook(  # type: ignore[union-attr, operator]
        lambda _, arguments: seen.append(arguments[0].shape)
    )
    with torch.inference_mode():
        (first, *_) = module.predict_batch(batch)
    assert len(seen) == number
    assert first.semantic.shape[1:] == (batch.records[0].height, batch.records[0].width)


def test_every_choice_of_views_is_tested() -> None:
    shipped = {file.stem for file in (config_directory() / "views").glob("*.yaml")}
    assert shipped == {"none", "flip", "flips", "scales", "flip_and_scales"}


def _write(path: Path, checkpoint: dict[str, Any], old: str, new: str) -> Path:
    text = checkpoint[METADATA_KEY]["config"]
    assert old in text
    changed = {**checkpoint[METADATA_KEY], "config": text.replace(old, new)}
    torch.save({**checkpoint, METADATA_KEY: changed}, path)
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: benign mass", "name: kind mass", "data.categories"),
        ("score_threshold: 0.5", "score_threshold: 0.4", "inference.score_threshold"),
        (
            "image_size: 128\n      shorter_side",
            "image_size: 96\n      shorter_side",
            "evaluation_transform.image_size",
        ),
    ],
)
def test_members_that_do_not_fit_are_told_in_one_line(
    old: str, new: str, message: str, fold_runs: Path, tmp_path: Path
) -> None:
    path = fold_runs / "1" / "checkpoints" / "best.ckpt"
    other = _write(tmp_path / "other.ckpt", read_checkpoint(path), old, new)
    ensemble = read_ensemble([str(fold_runs / "0"), str(other)], {})
    with pytest.raises(UserError, match=rf"'{other}' and '.*best.ckpt' differ in .*{message}") as told:
        ensemble.build(PLAIN, shipped_fusion())
    assert "\n" not in str(told.value)


def test_wrong_names_of_checkpoints_are_told(fold_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no checkpoints/best\.ckpt"):
        find_checkpoints(str(tmp_path))
    with pytest.raises(UserError, match="the list is empty"):
        find_checkpoints([])
    with pytest.raises(UserError, match="named twice"):
        find_checkpoints([str(fold_runs), str(fold_runs / "1" / "checkpoints" / "best.ckpt")])
    with pytest.raises(UserError, match=r"fusion\.weights: 3 values for 2 checkpoints"):
        read_ensemble(str(fold_runs), {}).build(PLAIN, shipped_fusion(weights=[1.0, 1.0, 1.0]))
    with pytest.raises(UserError, match="no file"):
        read_ensemble(str(tmp_path / "nowhere.ckpt"), {})


def test_an_image_is_asked_only_for_the_classes_that_its_truth_annotates(fold_runs: Path) -> None:
    """As one model does, and views of it."""
    ensemble = read_ensemble(str(fold_runs / "0" / "checkpoints" / "best.ckpt"), UNSURE)
    module = ensemble.build(PLAIN, shipped_fusion())
    flipped = ensemble.build(ViewSettings(["none", "horizontal"], [1.0]), shipped_fusion())
    data = build_data(ensemble.config)
    batch = next(iter(data.evaluation_dataloader("test")))
    for annotated in ([True, False, False], [False, True, True]):
        asked = torch.tensor(annotated)
        batch.targets = [replace(target, annotated=asked) for target in batch.targets]
        for model in (module, flipped):
            for prediction in model.predict_batch(batch):
                found = asked[prediction.instances.labels]
                assert prediction.instances.scores[found].max() > 0
                assert prediction.instances.scores[~found].sum() == 0
