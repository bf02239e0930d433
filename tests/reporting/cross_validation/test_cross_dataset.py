"""What models reach on datasets that they were not trained on, and on held-out folds of their own."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from cross_validation_runs import identity, write_chosen_run
from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation.runs import is_foreign
from modise_lightning.tables import tables

Compose = Callable[..., DictConfig]
SAME = {"inference.score_threshold": 0.5}


def write(folder: Path, trained_on: str, dataset: str, quality: float, fold: int = 0, **changes: Any) -> None:
    """Write a result of one model on one dataset; its PQ is as given at 0.3 and lower at 0.1."""
    measurement: dict[str, Any] = dict(SAME)
    if trained_on != dataset:
        measurement["trained_on"] = trained_on
    if trained_on == "joint":
        measurement["trained_on_sources"] = "alpha, beta"
    path = folder / f"{trained_on}_{dataset}_{fold}_{changes.get('split', '')}"
    values = {"dataset": dataset, "dataset_digest": dataset, "measurement": measurement, **changes}
    write_chosen_run(path, values.pop("name", "model"), fold, [quality - 0.1, quality, 0.0], **values)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for fold, shift in enumerate((0.0, 0.02)):
        write(folder, "alpha", "alpha", 0.40 + shift, fold)
        write(folder, "beta", "beta", 0.30 + shift, fold)
        write(folder, "joint", "alpha", 0.44 + shift, fold)
        write(folder, "joint", "beta", 0.28 + shift, fold)
    write(folder, "alpha", "beta", 0.10, split="all", unseen_categories=("malignant",))
    write(folder, "joint", "gamma", 0.20, split="all")
    return folder


def read(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    rows = csv.DictReader(path.read_text().splitlines())
    return {(row["trained_on"], row["tested_on"], row["metric"]): row for row in rows}


def test_a_row_a_training_and_a_column_a_dataset(
    runs: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tables"
    config = compose_config(
        "tables", [f"runs={runs}", "cross_dataset=true", f"output_dir={output}"], tmp_path
    )
    assert tables(config) == []
    markdown = (output / "cross_dataset.md").read_text()
    first = [line for line in markdown.splitlines() if line.startswith("|")][:5]
    deviation = f"{math.sqrt(2):.2f}"  # of 0 and 2 points: sqrt(2 * 1^2 / (2 - 1))
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (first[0], *first[2:])] == [
        ["trained on", "alpha", "beta", "gamma"],
        ["alpha", f"41.00 ± {deviation} (2)", "10.00 (1)", "-"],
        ["beta", "-", f"**31.00 ± {deviation} (2)**", "-"],
        ["joint: alpha + beta", f"**45.00 ± {deviation} (2)**", f"29.00 ± {deviation} (2)", "**20.00 (1)**"],
    ]
    for metric in ("PQ", "AP", "Dice"):
        assert f"{metric}, trained on / tested on" in markdown
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        "IoU threshold of alpha 0.30, beta 0.30, gamma 0.30",
        "SYNTHETIC images, in whole or in part: alpha; beta; gamma",
        "On the held-out fold of data that was trained on: alpha on alpha; beta on beta; "
        "joint: alpha + beta on alpha; joint: alpha + beta on beta.",
        "On more than a test fold, none of it trained on: all of beta; all of gamma.",
        "With classes of which training had no text: alpha on beta.",
    ):
        assert text in printed
    values = read(output / "cross_dataset.csv")
    assert len(values) == 6 * 3
    assert float(values["alpha", "beta", "AP"]["mean"]) == pytest.approx(40.0)
    assert float(values["alpha", "beta", "Dice"]["mean"]) == pytest.approx(40.0)
    assert values["alpha", "beta", "Dice"]["iou_threshold"] == ""
    assert (output / "cross_dataset.tex").is_file()


def test_images_that_were_trained_on_are_left_out(
    runs: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All images of a source include those that the joint model was trained on."""
    write(runs, "joint", "alpha", 0.9, split="all")
    config = compose_config("tables", [f"runs={runs}", "cross_dataset=true"], tmp_path)
    tables(config)
    assert "joint_alpha_0_all/results.json is of the all images" in "".join(
        capsys.readouterr().out.split("\n")
    )
    assert float(read(tmp_path / "cross_dataset.csv")["joint: alpha + beta", "alpha", "PQ"]["mean"]) == 45.0


@pytest.mark.parametrize(
    ("measurement", "dataset", "foreign"),
    [
        ({}, "alpha", False),
        ({"trained_on": "beta"}, "alpha", True),
        ({"trained_on": "joint", "trained_on_sources": "alpha, beta"}, "beta", False),
        ({"trained_on": "joint", "trained_on_sources": "alpha, beta"}, "gamma", True),
        ({"trained_on": "alpha", "data.sources": "alpha, beta"}, "joint", False),
        ({"trained_on": "gamma", "data.sources": "alpha, beta"}, "joint", True),
        ({"trained_on_sources": "alpha, beta", "data.sources": "alpha, beta"}, "joint", False),
        ({"trained_on_sources": "gamma, beta", "data.sources": "alpha, beta"}, "joint", False),
    ],
)
def test_whether_a_model_was_trained_on_what_it_is_tested_on(
    measurement: dict[str, Any], dataset: str, foreign: bool
) -> None:
    assert is_foreign(identity("model", 0, dataset=dataset, measurement=measurement)) is foreign


def test_models_of_one_training_set_have_a_row_each(
    runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    write(runs / "more", "alpha", "beta", 0.15, split="all", name="other")
    tables(compose_config("tables", [f"runs={runs}", "cross_dataset=true", "threshold=0.1"], tmp_path))
    values = read(tmp_path / "cross_dataset.csv")
    assert float(values["alpha (other)", "beta", "PQ"]["mean"]) == pytest.approx(5.0)
    assert float(values["alpha (model)", "alpha", "PQ"]["mean"]) == pytest.approx(31.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_digest": "other"}, "differ in the dataset, so that their numbers on beta"),
        ({"matching": "hungarian"}, "differ in metrics.matching"),
        ({"name": "model"}, "fold 1 of model on beta was run 2 times"),
    ],
)
def test_a_column_is_of_one_dataset_measured_alike(
    changes: dict[str, Any], message: str, runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    write(runs / "more", "beta", "beta", 0.5, fold=1, **{"name": "other", **changes})
    with pytest.raises(UserError, match=message):
        tables(compose_config("tables", [f"runs={runs}", "cross_dataset=true"], tmp_path))


def test_without_another_dataset_there_is_nothing_to_show(compose_config: Compose, tmp_path: Path) -> None:
    write(tmp_path / "runs", "alpha", "alpha", 0.4)
    with pytest.raises(UserError, match="cross_dataset: every run was tested on what it was trained on"):
        tables(compose_config("tables", [f"runs={tmp_path / 'runs'}", "cross_dataset=true"], tmp_path))
