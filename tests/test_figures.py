"""The figures command, on runs that the tests write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import pandas as pd
import pytest
from omegaconf import DictConfig

from cross_validation_runs import write_chosen_run, write_crashed_run, write_measured_run
from modise_lightning.errors import PartlyDoneError, UserError
from modise_lightning.figures import figures

Compose = Callable[..., DictConfig]
NAMES = ["threshold_ablation", "precision_recall", "froc", "calibration", "confusion"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two folds, one run of which crashed, and a run on another dataset."""
    folder = tmp_path_factory.mktemp("multirun")
    for job, (name, shift, fold) in enumerate([("good", 0, 0), ("good", 0, 1), ("bad", 2, 0)]):
        write_measured_run(folder / str(job), name, fold, shift, num_folds=2)
    write_crashed_run(folder / "3", {"name": "bad", "fold": 1})
    write_measured_run(folder / "4", "good", 0, 0, dataset="patients", synthetic=False, num_folds=2)
    return folder


def test_all_figures_are_written(
    runs: Path,
    compose_config: Compose,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")  # as a command's log
    folders = ",".join(str(runs / str(job)) for job in range(4))
    written = figures(compose_config("figures", [f"runs=[{folders}]"], tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert {path.name for path in written} == {
        f"phantom_{name}.{ending}" for name in NAMES for ending in ("pdf", "png", "csv")
    }
    assert not [record for record in caplog.records if record.name.startswith("fontTools")]
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("phantom, SYNTHETIC: bad (1/2 folds), good (2/2 folds)", "left no results"):
        assert text in printed
    assert all(str(path) in printed for path in written)
    for path in written:
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        elif path.suffix == ".png":
            height, width = cv2.imread(str(path)).shape[:2]
            assert width > 600
            assert height > 400
        else:
            assert set(pd.read_csv(path)["model"]) == {"good", "bad"}


def test_datasets_share_no_figure(runs: Path, compose_config: Compose, tmp_path: Path) -> None:
    overrides = [f"runs={runs}", "figures=[confusion]", "formats=[svg]"]
    written = figures(compose_config("figures", overrides, tmp_path))
    assert [path.name for path in written] == [
        f"{dataset}_confusion.{ending}" for dataset in ("patients", "phantom") for ending in ("svg", "csv")
    ]
    assert "SYNTHETIC" not in written[0].read_text()
    assert "SYNTHETIC" in written[2].read_text()
    for path, synthetic in ((written[1], False), (written[3], True)):
        own = pd.read_csv(path)
        assert own["dataset"].unique().tolist() == [path.name.split("_")[0]]
        assert own["synthetic"].unique().tolist() == [synthetic]


def test_pooled_folds_and_other_formats(runs: Path, compose_config: Compose, tmp_path: Path) -> None:
    overrides = [
        f"runs=[{runs / '0'},{runs / '1'}]",
        "folds=pool",
        "figures=[froc,precision_recall]",
        "formats=[svg]",
    ]
    written = figures(compose_config("figures", overrides, tmp_path))
    assert [path.name for path in written] == [
        "phantom_froc.svg",
        "phantom_froc.csv",
        "phantom_precision_recall.svg",
        "phantom_precision_recall.csv",
    ]
    assert "in one ranking" in written[0].read_text()
    assert pd.read_csv(written[3])["precision_std"].isna().all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["figures=[frok]"], "figures.0: .*'threshold_ablation'.*found 'frok'"),
        (["formats=[jpg]"], "formats.0: .*found 'jpg'"),
        (["froc.operating_points=[2,1]"], r"froc\.operating_points: .*rise"),
        (["froc.threshold=0"], r"froc\.threshold"),
        (["precision_recall.thresholds=[]"], r"precision_recall\.thresholds"),
        (["folds=mean"], "folds: .*found 'mean'"),
        (["runs=nowhere"], "no folder 'nowhere'"),
        (["models=[untrained]"], "no run has results of untrained"),
        (["figures=[qualitative_grid]"], r"best\.ckpt: no checkpoint"),
        (["figures=[qualitative_grid]", "qualitative_grid.images=[7]"], "no fold has tested image 7 with"),
        (
            [f"qualitative_grid.{part}=0" for part in ("best", "median", "worst")],
            "qualitative_grid: .*no image would be shown",
        ),
    ],
)
def test_a_wrong_setting_is_told(
    overrides: list[str], message: str, runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("figures", [f"runs={runs}", *overrides], tmp_path)
    with pytest.raises(UserError, match=message):
        figures(config)
    assert not list(tmp_path.iterdir())


def test_a_figure_that_fails_does_not_cost_the_others(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_measured_run(tmp_path / "run", "m", 0, 0, num_folds=1)
    choice = "figures=[qualitative_grid,threshold_ablation]"
    config = compose_config("figures", [f"runs={tmp_path}", choice, "formats=[svg]"], tmp_path / "out")
    with pytest.raises(PartlyDoneError, match=r"left out: qualitative_grid .*2 files are written"):
        figures(config)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "phantom_threshold_ablation.csv",
        "phantom_threshold_ablation.svg",
    ]
    assert "the picture 'qualitative_grid of phantom' is left out" in capsys.readouterr().err


def test_runs_without_records_have_an_ablation_only(compose_config: Compose, tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "run", "m", 0, [0.3, 0.2, 0.1])
    overrides = [f"runs={tmp_path / 'run'}", "formats=[svg]"]
    with pytest.raises(UserError, match="no records"):
        figures(compose_config("figures", overrides, tmp_path / "out"))
    written = figures(
        compose_config("figures", [*overrides, "figures=[threshold_ablation]"], tmp_path / "out")
    )
    assert [path.name for path in written] == [
        "phantom_threshold_ablation.svg",
        "phantom_threshold_ablation.csv",
    ]
