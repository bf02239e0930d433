"""The qualitative grid, from a run that was trained: its checkpoint predicts the images of its test fold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from modise_lightning.data.images.reading import read_image_file
from modise_lightning.errors import UserError
from modise_lightning.figures import figures
from modise_lightning.prediction.from_checkpoints import predict_images
from modise_lightning.reporting.cross_validation.runs import FinishedRun, find_runs
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]


@pytest.fixture
def run(compose_config: Compose, phantom_root: Path, tmp_path: Path) -> FinishedRun:
    overrides = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]", "name=tiny"]
    train(compose_config("train", overrides, tmp_path / "run"))
    (found,) = find_runs([tmp_path / "run"], "error").finished
    return found


def test_a_run_gives_its_grid(
    run: FinishedRun, compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    records = pd.read_csv(run.folder / "records" / "trained" / "images.csv")
    image_id = int(records["image_id"][1])
    predicted = predict_images(run, [image_id], overrides={}, device="cpu")
    shown = predicted.rows[image_id]
    assert shown.name == records["file_name"][1]
    np.testing.assert_array_equal(shown.image, read_image_file(phantom_root / "images" / shown.name))
    assert len(shown.target.labels) == records["num_truth"][1]
    assert len(shown.prediction.panoptic.labels) == records["num_predicted"][1]
    assert [category.name for category in predicted.categories] == list(run.results["trained"].category_names)

    grid = ["figures=[qualitative_grid]", f"qualitative_grid.images=[{image_id}]", "formats=[png]"]
    written = figures(
        compose_config("figures", [f"runs={run.folder}", *grid, "qualitative_grid.device=cpu"], tmp_path)
    )
    assert [path.name for path in written] == [
        "phantom_qualitative_grid_tiny.png",
        "phantom_qualitative_grid_tiny.csv",
    ]
    assert pd.read_csv(written[1])["file_name"].tolist() == [shown.name]

    other = replace(run, identity=replace(run.identity, dataset_digest="another"))
    with pytest.raises(UserError, match=r"is not the dataset that .* was tested on"):
        predict_images(other, [image_id], overrides={}, device="cpu")
    with pytest.raises(UserError, match="is not the dataset"):
        predict_images(run, [10**6], overrides={}, device="cpu")
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(UserError, match=r"best\.ckpt: no checkpoint"):
        predict_images(run, [image_id], overrides={}, device="cpu")
