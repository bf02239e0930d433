"""The prepare command: the report, the contact sheet, and errors in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from omegaconf import DictConfig

from forked import forked
from modise_lightning.errors import UserError
from modise_lightning.prepare import prepare

Compose = Callable[..., DictConfig]


def test_a_dataset_is_prepared_with_report_and_contact_sheet(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "phantom"
    overrides = [f"data.root={root}", "data.preparer.num_patients=6", "data.preparer.image_size=96"]
    config = compose_config("prepare", [*overrides, "data.preparer.num_processes=1"], tmp_path / "run")
    report = prepare(config)
    assert json.loads((root / "report.json").read_text())["counts"] == report.counts
    sheet = cv2.imread(str(root / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] > 1500
    first = (root / "contact_sheet.png").read_bytes()
    prepare(config)
    assert (root / "contact_sheet.png").read_bytes() == first
    printed = capsys.readouterr().out
    assert "phantom, synthetic" in printed
    assert str(root) in printed


def test_verifying_what_needs_no_download_is_refused(compose_config: Compose, tmp_path: Path) -> None:
    config = compose_config(
        "prepare", [f"data.root={tmp_path / 'out'}", "verify_only=true"], tmp_path / "run"
    )
    with pytest.raises(UserError, match="nothing to verify"):
        prepare(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", ["cbis_ddsm", "tompei_cmmd"])
def test_normals_of_a_source_without_any_are_refused(
    compose_config: Compose, tmp_path: Path, data: str
) -> None:
    config = compose_config(
        "prepare", [f"data={data}", f"data.raw={tmp_path}", "data.normals=all"], tmp_path / "out"
    )
    with pytest.raises(UserError, match=f"data.normals: {data} names no images without findings"):
        prepare(config)


def test_a_missing_download_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    arguments = ["data=cdd_cesm", "data.raw=nowhere"]
    answer = forked("-m", "modise_lightning.prepare", *arguments, folder=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: data.raw: no folder 'nowhere'.")
    assert answer.stderr.count("\n") == 1
