"""The workspace names what a run logs; nothing is sent anywhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.wandb.workspace import describe_workspace

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def content() -> dict[str, Any]:
    """What would be sent."""
    workspace = describe_workspace("team", "project")
    model: dict[str, Any] = json.loads(workspace._to_model().model_dump_json(by_alias=True))
    return model


def test_it_has_the_sections_and_groups_runs_by_experiment(content: dict[str, Any]) -> None:
    text = json.dumps(content)
    for name in (
        *("Test", "By IoU threshold", "Clinical (metrics=clinical)"),
        *("Validation", "Predictions", "Training"),
    ):
        assert f'"{name}"' in text
    (runset,) = content["spec"]["section"]["runSets"]
    assert [key["name"] for key in runset["grouping"]] == ["name.value"]
    assert content["entity"] == "team"


def test_its_metrics_are_logged_ones(content: dict[str, Any]) -> None:
    """Names of metrics come from the result's own summary and from the table of what a run logs."""
    panels = [
        panel
        for section in content["spec"]["section"]["panelBankConfig"]["sections"]
        for panel in section["panels"]
    ]
    assert len(panels) > 12
    metrics = {
        metric
        for panel in panels
        for metric in panel["config"].get("metrics") or []
        if isinstance(metric, str)
    }
    summary = {
        "panoptic_quality",
        "recognition_quality",
        "segmentation_quality",
        "average_precision",
        "dice",
        "best_threshold",
    }
    assert set(vars_of_summary()) == summary
    assert {metric for metric in metrics if metric.startswith("test/")} == {
        f"test/{name}" for name in summary - {"best_threshold"}
    }
    assert {metric for metric in metrics if metric.startswith("validation/")} == {
        f"validation/{name}" for name in summary
    }
    assert "trainer/global_step" in json.dumps(panels)


def vars_of_summary() -> dict[str, float]:
    names = ["a"]
    ones: dict[str, Any] = {
        "num_images": 1,
        "category_names": names,
        "thresholds": [0.5],
        "best_threshold": 0.5,
    }
    for metric in ("panoptic_quality", "recognition_quality", "segmentation_quality", "average_precision"):
        ones |= {metric: [1.0], f"{metric}_by_category": {"a": [1.0]}}
    return EvaluationResult(**ones, dice=1.0, dice_by_category={"a": 1.0}).summary()


def test_the_script_says_what_it_needs() -> None:
    command = [sys.executable, str(REPOSITORY / "scripts" / "wandb_workspace.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "entity, project" in done.stderr
