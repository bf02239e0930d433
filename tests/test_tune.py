"""The command against evaluate: the numbers of the default, and those of the settings that it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from modise_lightning.errors import UserError
from modise_lightning.evaluate import evaluate
from modise_lightning.tune import tune

pytestmark = pytest.mark.xdist_group("folds")
Compose = Callable[..., DictConfig]
# Models that are not trained find little: an IoU above 0 is a match.
THRESHOLDS = "+overrides.metrics.thresholds=[0.0]"
SMALL = ["grid.score_threshold=[0.01,0.2]", "grid.overlap_threshold=[0.0]", "grid.mask_threshold=[0.05,0.5]"]


def test_numbers_are_those_of_evaluate_with_the_same_settings(
    fold_runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    out = tmp_path / "tuned"
    settings = [f"runs={fold_runs}", "iou_threshold=0", "device=cpu", *SMALL, "bootstrap.samples=50"]
    tuning = tune(compose_config("tune", settings, out))
    assert len(tuning.candidates) == 9  # and the default
    assert {path.name for path in out.glob("*.*")} == {
        "settings.yaml",
        "tuning.md",
        "tuning.json",
        "tuning.png",
    }
    stored = json.loads((out / "tuning.json").read_text())
    assert stored["note"] == "Synthetic phantom images, not patients."
    assert stored["chosen"]["score_threshold"] < 0.5
    assert stored["test"]["gain"]["PQ"]["value"] > 0

    def quality(*overrides: str) -> float:
        own = [f"checkpoint={fold_runs / '0'}", "pictures.num_images=0", "trainer.accelerator=cpu"]
        config = compose_config("evaluate", [*own, THRESHOLDS, *overrides], tmp_path / "evaluated")
        return evaluate(config).panoptic_quality[0]

    chosen = tuning.choice.candidate
    assert quality() == pytest.approx(float(tuning.runs[0].test.values("PQ")[0]))
    of_fold = float(tuning.runs[0].test.values("PQ")[chosen])
    assert of_fold > 0
    assert quality(f"settings={out / 'settings.yaml'}") == pytest.approx(of_fold)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("runs=[]", "runs"),
        ("runs=nowhere", "runs: .*no file|no file"),
        ("metric=AP", "metric"),
        ("iou_threshold=1", "iou_threshold"),
        ("grid.score_threshold=[]", r"grid\.score_threshold"),
        ("grid.score_threshold=[0.5,1.5]", r"grid\.score_threshold\.1"),
        ("grid.score_threshold=[0.0]", r"grid\.score_threshold: 0\.0 is below fusion\.minimum_score"),
        ("grid.mask_threshold=[0.0]", r"grid\.mask_threshold"),
        ("grid.flips=[[sideways]]", r"grid\.flips"),
        ("grid.flips=[[none,none]]", r"grid\.flips: different values"),
        ("bootstrap.samples=0", r"bootstrap\.samples"),
        ("device=tpu", "device"),
        ("num_threads=0", "num_threads"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(
    override: str, message: str, fold_runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    settings = [f"runs={fold_runs / '0'}", override]
    with pytest.raises(UserError, match=message) as told:
        tune(compose_config("tune", settings, tmp_path))
    assert "\n" not in str(told.value)
