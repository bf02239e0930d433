"""Results come back from their file as they were."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modise_lightning.errors import UserError
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.results import RunIdentity, read_results, write_results

RESULT = EvaluationResult(
    num_images=3,
    category_names=["benign", "malignant"],
    thresholds=[0.1, 0.3],
    best_threshold=0.1,
    panoptic_quality=[1 / 3, math.nan],
    recognition_quality=[0.2, 0.1],
    segmentation_quality=[0.7, math.nan],
    average_precision=[1, 0],
    dice=math.nan,
    panoptic_quality_by_category={"benign": [0.1, 0.2], "malignant": [math.nan, math.nan]},
    recognition_quality_by_category={"benign": [0.1, 0.2], "malignant": [math.nan, math.nan]},
    segmentation_quality_by_category={"benign": [0.1, 0.2], "malignant": [math.nan, math.nan]},
    average_precision_by_category={"benign": [0.1, 0.2], "malignant": [math.nan, math.nan]},
    dice_by_category={"benign": 0.3, "malignant": math.nan},
)


RUN = RunIdentity(
    name="tiny",
    dataset="phantom",
    synthetic=True,
    split="test",
    fold=2,
    experiment="m_odise",
    random_parts=("backbone", "captioner"),
    matching="greedy",
    dataset_digest="0123",
    num_dataset_images=20,
    num_folds=5,
    data_split="official",
)


def write(path: Path) -> dict[str, Any]:
    write_results(path, {"trained": RESULT}, RUN)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    content = write(tmp_path / "results.json")
    assert content["results"]["trained"]["dice"] is None
    stored = read_results(tmp_path / "results.json", EvaluationResult)
    assert stored.run == RUN
    assert isinstance(stored.results["trained"], EvaluationResult)
    # NaN is equal to NaN for numpy only.
    np.testing.assert_equal(asdict(stored.results["trained"]), asdict(RESULT))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": "2"}, r"fold: .*integer"),
        ({"results": None}, r"results: "),
        ({"results": {"trained": {"dice": 0.1}}}, r"num_images"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(write(path) | change))
    with pytest.raises(UserError, match=rf"results\.json: .*{message}.*run's results\.json"):
        read_results(path, EvaluationResult)


def test_a_wrong_value_inside_a_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    content = write(path)
    content["results"]["trained"]["panoptic_quality"][1] = "high"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"panoptic_quality\.1"):
        read_results(path, EvaluationResult)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff"])
def test_files_that_are_not_json_are_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not JSON"):
        read_results(path, EvaluationResult)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_results(tmp_path / "results.json", EvaluationResult)
