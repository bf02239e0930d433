"""The tables command, on runs that the tests write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from cross_validation_runs import write_crashed_run, write_measured_run
from modise_lightning.errors import UserError
from modise_lightning.tables import tables

Compose = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of three folds, one run of which crashed."""
    folder = tmp_path_factory.mktemp("multirun")
    for job, (name, shift, fold) in enumerate(
        [("good", 0, 0), ("good", 0, 1), ("good", 0, 2), ("bad", 2, 0), ("bad", 2, 1)]
    ):
        write_measured_run(folder / str(job), name, fold, shift, num_folds=3, num_dataset_images=18)
    write_crashed_run(folder / "5", {"name": "bad", "fold": 2})
    return folder


def test_tables_are_printed_and_written(
    runs: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose_config("tables", [f"runs={runs}", "per_class=true"], tmp_path)
    (table,) = tables(config)
    assert [row.label for row in table.models] == ["bad", "good"]
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("SYNTHETIC", "bad: 1 of 3 folds are missing (2)", "left no results", "malignant"):
        assert text in printed
    assert sorted(path.name for path in tmp_path.glob("phantom.*")) == [
        "phantom.csv",
        "phantom.md",
        "phantom.tex",
    ]
    markdown = (tmp_path / "phantom.md").read_text()
    assert "difference to bad, percentage points" in markdown
    assert "Reference: bad, the table's first row whatever the results" in markdown
    assert "| Dice | PQ 0.1 | PQ 0.25 | PQ 0.5 |" in markdown
    assert "interval without training variance | 95 % interval with training variance | p |" in markdown
    assert "with 2 folds it cannot be below 0.5." in markdown
    # Two folds of three are not compared with three.
    assert "Never bold, for their missing folds: bad." in markdown
    assert "| **" not in markdown
    assert "synthetic images (phantom)" in markdown


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["threshold=best"], "threshold.*found 'best'"),
        (["threshold=1.5"], "threshold"),
        (["same_fold=first"], "same_fold: .*found 'first'"),
        (["comparison.confidence=95"], r"comparison\.confidence: .*found 95"),
        (["models=[]"], "models"),
        (["runs=nowhere"], "no folder 'nowhere'"),
    ],
)
def test_a_wrong_setting_is_told(
    overrides: list[str], message: str, runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("tables", [f"runs={runs}", *overrides], tmp_path)
    with pytest.raises(UserError, match=message):
        tables(config)
    assert not list(tmp_path.glob("*.md"))


def test_several_folders_and_a_fixed_threshold(runs: Path, compose_config: Compose, tmp_path: Path) -> None:
    overrides = [f"runs=[{runs / '0'},{runs / '1'}]", "threshold=0.5", "comparison.bootstrap_samples=0"]
    (table,) = tables(compose_config("tables", overrides, tmp_path))
    (row,) = table.models
    assert row.threshold == 0.5
    assert list(row.runs) == [0, 1]
