"""What a run logs to Weights & Biases, read back from its offline files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from modise_lightning.configuration.command_line import config_directory
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.reporting.wandb.clinical import clinical_key
from modise_lightning.reporting.wandb.workspace import CLINICAL
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides
from wandb_offline import OfflineRun, read_offline_run

CATEGORIES = ["benign mass", "malignant mass", "calcification cluster"]


@dataclass
class Logged:
    """A run of three test images, its result and what it logged."""

    folder: Path
    result: EvaluationResult
    offline: OfflineRun


@pytest.fixture(scope="module")
def logged(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("run")
    overrides = [
        "logger=wandb",
        "logger.tags=[phantom]",  # outside of a Hydra job there is no choice to name
        "baselines=[]",
        "metrics=clinical",
        *phantom_overrides(phantom_root),
        *ONE_STEP,
        "fold=2",
        "name=tiny-experiment",
        f"output_dir={folder}",
        "callbacks.checkpoint.monitor=validation/dice",
        # A model of one step is sure of nothing: low thresholds make it say something.
        "inference.score_threshold=0.01",
        "inference.overlap_threshold=0",
        "inference.mask_threshold=0.05",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(folder / "wandb_home"))
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            config = compose("train", overrides=overrides)
        result = train(config)["trained"]
        yield Logged(folder, result, read_offline_run(folder))


def test_runs_are_grouped_by_experiment_and_hold_all_settings(logged: Logged) -> None:
    run, config = logged.offline.run, logged.offline.config
    assert (run.display_name, run.run_group, run.job_type) == (
        "tiny-experiment-fold2",
        "tiny-experiment",
        "train",
    )
    assert list(run.tags) == ["phantom"]
    assert config["fold"] == 2
    assert config["output_dir"] == str(logged.folder)
    assert config["callbacks"]["checkpoint"]["dirpath"] == f"{logged.folder}/checkpoints"  # interpolated
    assert config["backbone"]["architecture"]["unet"]["layers_per_block"] == 2


def test_clinical_numbers_have_a_section_with_their_reasons(logged: Logged) -> None:
    clinical = logged.result.clinical
    assert clinical is not None
    (row,) = [each for each in logged.offline.rows if "test_clinical/numbers" in each]
    content = logged.offline.table(row["test_clinical/numbers"])
    found = {name: (value, reason) for name, value, reason in content["data"]}
    assert set(found) == {*clinical.counts, *clinical.values, *clinical.undefined}
    for name, value in clinical.values.items():
        key = clinical_key(name)
        if np.isnan(value):
            assert key not in row
            assert found[name] == (None, clinical.undefined[name])
        else:
            assert row[key] == pytest.approx(value)
    assert row[clinical_key("normal images")] == clinical.counts["normal images"]
    for name in CLINICAL:  # what the workspace shows
        assert name in clinical.values, name
    strata = logged.offline.table(row["test_clinical/strata"])["data"]
    assert [each[:4] for each in strata] == [
        [each.by, each.level, each.lesions, each.found] for each in clinical.strata
    ]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(
    "metric", ["panoptic_quality", "recognition_quality", "segmentation_quality", "average_precision"]
)
def test_curves_over_the_threshold_hold_every_defined_value(logged: Logged, split: str, metric: str) -> None:
    (value,) = logged.offline.logged(f"{split}_by_threshold/{metric}_table")
    content = logged.offline.table(value)
    assert content["columns"] == ["step", "lineKey", "lineVal"]
    found = {(name, round(threshold, 6)): number for threshold, name, number in content["data"]}
    assert len(found) == len(content["data"])
    if split == "test":
        lines = {**getattr(logged.result, f"{metric}_by_category"), "mean": getattr(logged.result, metric)}
        expected = {
            (name, round(threshold, 6)): value
            for name, values in lines.items()
            for threshold, value in zip(logged.result.thresholds, values, strict=True)
            if not np.isnan(value)
        }
        assert found == pytest.approx(expected)
    else:
        assert {name for name, _ in found} <= {*CATEGORIES, "mean"}


def test_the_table_by_category_is_the_result(logged: Logged) -> None:
    (value,) = logged.offline.logged("test/by_category")
    content = logged.offline.table(value)
    assert len(content["data"]) == len(CATEGORIES) * len(logged.result.thresholds)
    for row in content["data"]:
        cell = dict(zip(content["columns"], row, strict=True))
        index = logged.result.thresholds.index(cell["threshold"])
        for metric in ("panoptic_quality", "average_precision"):
            expected = getattr(logged.result, f"{metric}_by_category")[cell["category"]][index]
            assert cell[metric] is None if np.isnan(expected) else cell[metric] == pytest.approx(expected)


def test_the_confusion_is_that_of_the_records(logged: Logged) -> None:
    (value,) = logged.offline.logged("test/confusion_table")
    records = read_records(logged.folder / "records" / "trained")
    confusion = count_confusion(records, category_names=CATEGORIES, threshold=logged.result.best_threshold)
    assert confusion.counts.sum() > 0
    found = {(true, predicted): count for true, predicted, count in logged.offline.table(value)["data"]}
    for row, true in enumerate(confusion.names):
        for column, predicted in enumerate(confusion.names):
            assert found.get((true, predicted), 0) == confusion.counts[row, column]


def test_the_predictions_have_masks_and_boxes_to_toggle(logged: Logged) -> None:
    (row,) = logged.offline.logged("validation/predictions")
    files = logged.offline.files
    assert row["count"] == len(row["all_masks"]) == len(row["all_boxes"]) == 2
    for masks, boxes, picture in zip(row["all_masks"], row["all_boxes"], row["filenames"], strict=True):
        size = cv2.imread(str(files / picture)).shape[:2]
        assert masks.keys() == {"truth", "prediction"}
        classes = {}
        for kind in masks:
            pixels = cv2.imread(str(files / masks[kind]["path"]), cv2.IMREAD_UNCHANGED)
            assert pixels.shape[:2] == size
            classes[kind] = set(np.unique(pixels))
        drawn = json.loads((files / boxes["prediction"]["path"]).read_text())["box_data"]
        assert {box["class_id"] for box in drawn} == classes["prediction"] - {0}
        assert all(0 <= box["scores"]["score"] <= 1 for box in drawn)
    names = row["all_masks"][0]["truth"]
    assert names["_type"] == "mask"


def test_the_table_of_predictions_has_a_row_an_image(logged: Logged) -> None:
    (value,) = logged.offline.logged("test/predictions")
    content = logged.offline.table(value)
    images = read_records(logged.folder / "records" / "trained").images
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert [row["file_name"] for row in rows] == images["file_name"].tolist()
    assert [row["truth"] for row in rows] == images["num_truth"].tolist()
    assert [row["predicted"] for row in rows] == images["num_predicted"].tolist()
    (artifact,) = [each for each in logged.offline.artifacts if "testpredictions" in each.name]
    stored = [entry.path for entry in artifact.manifest.contents]
    assert sum(path.endswith(".mask.png") for path in stored) >= 2
    assert sum(path.startswith("media/images/") and ".mask." not in path for path in stored) == len(rows)


def test_checkpoints_are_artifacts_named_best_and_last(logged: Logged) -> None:
    models = [artifact for artifact in logged.offline.artifacts if artifact.type == "model"]
    assert {artifact.name for artifact in models} == {"checkpoint-tiny-experiment-fold2"}
    by_alias: dict[str, Any] = {alias: artifact for artifact in models for alias in artifact.aliases}
    assert by_alias.keys() == {"best", "last", "latest"}
    for alias in ("best", "last"):
        (entry,) = by_alias[alias].manifest.contents
        path = Path(entry.local_path)
        assert path == logged.folder / "checkpoints" / f"{alias}.ckpt"
        assert entry.size == path.stat().st_size
        assert "state_dict" in torch.load(path, weights_only=True)
    score = json.loads(by_alias["best"].metadata)
    assert score["monitor"] == "validation/dice"
    assert score["score"] == pytest.approx(logged.offline.logged("validation/dice")[0])


def test_the_shipped_config_names_its_data_set() -> None:
    """The fixture replaces the tags, as it composes outside of a Hydra job."""
    config = OmegaConf.load(config_directory() / "logger" / "wandb.yaml")
    assert OmegaConf.to_container(config)["tags"] == ["${hydra:runtime.choices.data}"]  # type: ignore[index, call-overload]
