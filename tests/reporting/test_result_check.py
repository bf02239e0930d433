"""Results whose entries do not fit together are refused by name, before any table is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cross_validation_runs import write_chosen_run
from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation.runs import find_runs


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["panoptic_quality"], [0.1], "panoptic_quality: 1 values for 3 thresholds"),
        (["average_precision"], [], "average_precision: 0 values"),
        (["recognition_quality_by_category", "benign"], [0.1] * 4, "by_category.benign: 4 values"),
        (["segmentation_quality_by_category"], {}, "lacks 'benign'"),
        (["average_precision_by_category", "other"], [0.1] * 3, "unknown class 'other'"),
        (["dice_by_category"], {"benign": 0.1}, "dice_by_category: lacks 'malignant'"),
        (["dice"], float("inf"), "dice: expected numbers that are finite"),
        (["dice"], -1, "dice: expected numbers that are finite and not negative"),
        (["thresholds"], [0.3, 0.1, 0.95], "thresholds: expected rising numbers"),
        (["thresholds"], [], "thresholds: expected rising numbers"),
        (["thresholds", 0], None, "thresholds: expected rising numbers"),
        (["best_threshold"], 0.5, "best_threshold: 0.5 is none of thresholds"),
        (["category_names"], [], "category_names: expected names"),
        (["category_names"], ["benign", "benign"], "category_names: expected names"),
        (["num_images"], -1, "num_images: expected"),
    ],
)
def test_what_does_not_fit_is_named(path: list[Any], value: object, message: str, tmp_path: Path) -> None:
    write_chosen_run(tmp_path, "model", 0, [0.1, 0.2, 0.3])
    file = tmp_path / "results.json"
    content = json.loads(file.read_text())
    node = content["results"]["trained"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"results\.json: results\.trained\..*{message}.*a run's results"):
        find_runs([tmp_path], "error")
