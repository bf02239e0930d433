"""The report command, on runs that are trained here and on runs that the tests write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import html5lib
import pytest
from omegaconf import DictConfig

from cross_validation_runs import write_chosen_run, write_measured_run
from modise_lightning.errors import PartlyDoneError, UserError
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.report import report
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
LIGHT = ["figures=[threshold_ablation]", "comparison.bootstrap_samples=0", "gallery.device=cpu"]


def gallery_names(path: Path) -> list[str]:
    root = html5lib.HTMLParser(namespaceHTMLElements=False, strict=True).parse(path.read_text())
    return [str(each.get("data-name")) for each in root.iter("article")]


@pytest.fixture
def trained(compose_config: Compose, phantom_root: Path, tmp_path: Path) -> Path:
    """Two folds of a tiny model."""
    for fold in (0, 1):
        overrides = [*phantom_overrides(phantom_root), *ONE_STEP, "baselines=[]", "name=tiny", f"fold={fold}"]
        train(compose_config("train", overrides, tmp_path / "runs" / str(fold)))
    return tmp_path / "runs"


def test_trained_folds_become_a_report(
    trained: Path,
    compose_config: Compose,
    phantom_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [f"runs={trained}", *LIGHT]
    (path,) = report(compose_config("report", overrides, tmp_path / "out"))
    assert path == tmp_path / "out" / "report.html"
    assert list(path.parent.iterdir()) == [path]
    assert f"written: {path} (" in capsys.readouterr().out
    tested = [read_records(trained / fold / "records" / "trained").images for fold in ("0", "1")]
    names = [name for images in tested for name in images["file_name"]]
    assert sorted(gallery_names(path)) == sorted(names)
    assert len(names) == 4
    page = path.read_text()
    assert "Synthetic images, not patients" in page
    assert "differ from those that the evaluation counted" not in page
    assert "tiny" in page

    single = [f"runs={trained / '0'}", *LIGHT]
    (path,) = report(compose_config("report", single, tmp_path / "single"))
    assert sorted(gallery_names(path)) == sorted(tested[0]["file_name"])
    assert str(trained / "0" / "checkpoints" / "best.ckpt") in path.read_text()

    moved = tmp_path / "moved"
    shutil.copytree(phantom_root, moved)
    override = f"+gallery.overrides.data.root={moved}"
    (again,) = report(compose_config("report", [*single, override], tmp_path / "again"))
    assert again.read_bytes() == path.read_bytes()
    index = json.loads((moved / "panoptic.json").read_text())
    index["info"]["description"] = "prepared again"
    (moved / "panoptic.json").write_text(json.dumps(index))
    with pytest.raises(PartlyDoneError, match=r"tested on .*; set gallery\.overrides\.data\.root"):
        report(compose_config("report", [*single, override], tmp_path / "none"))
    assert not gallery_names(tmp_path / "none" / "report.html")


def test_datasets_do_not_mix(compose_config: Compose, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_measured_run(runs / "0", "m", 0, 0, num_folds=1)
    write_measured_run(runs / "1", "m", 0, 0, num_folds=1, dataset="patients", synthetic=False)
    written = report(compose_config("report", [f"runs={runs}", *LIGHT], tmp_path / "out"))
    assert [path.name for path in written] == ["report_patients.html", "report_phantom.html"]
    pages = [path.read_text() for path in written]
    assert ["phantom" in page for page in pages] == [False, True]
    assert ["Synthetic" in page for page in pages] == [False, True]
    assert all("it has no checkpoint" in page for page in pages)


def test_pictures_that_fail_do_not_cost_the_tables(compose_config: Compose, tmp_path: Path) -> None:
    write_measured_run(tmp_path / "run", "m", 0, 0, num_folds=1)
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
    config = compose_config("report", [f"runs={tmp_path}", *LIGHT], tmp_path / "out")
    with pytest.raises(PartlyDoneError, match=r"left out: images of m \(checkpoint: .*best\.ckpt"):
        report(config)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Panoptic, recognition and segmentation quality" in page


def test_results_alone_make_a_report(compose_config: Compose, tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "run", "m", 0, [0.3, 0.2, 0.1])
    overrides = [f"runs={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"no records.*set figures=\[threshold_ablation\]"):
        report(compose_config("report", overrides, tmp_path / "out"))
    (path,) = report(compose_config("report", [*overrides, *LIGHT], tmp_path / "out"))
    assert "it has no checkpoint" in path.read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["figures=[frok]"], r"figures\.0: .*found 'frok'"),
        (["gallery.max_images=-1"], r"gallery\.max_images: .*found -1"),
        (["gallery.longest_side=10"], r"gallery\.longest_side"),
        (["runs=nowhere"], "no folder 'nowhere'"),
    ],
)
def test_a_wrong_setting_is_told(
    overrides: list[str], message: str, compose_config: Compose, tmp_path: Path
) -> None:
    config = compose_config("report", [f"runs={tmp_path}", *overrides], tmp_path / "out")
    with pytest.raises(UserError, match=message):
        report(config)
    assert not (tmp_path / "out").exists()
