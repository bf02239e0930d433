"""Whole commands in a folder and with files whose names are no UTF-8, as old archives hold them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from modise_lightning.errors import PartlyDoneError
from modise_lightning.evaluate import evaluate
from modise_lightning.predict import predict
from modise_lightning.report import report
from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]

# A library such as TensorBoard takes UTF-8 alone; in the command line Hydra does.
COMMAND = """
import os
from modise_lightning.configuration.command_line import run_command
run_command("tables", lambda config: os.fsdecode(b"r\\xffun").encode())
"""


def test_commands_work_in_such_a_folder(
    phantom_root: Path,
    compose_config: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / os.fsdecode(b"\xffolder")
    shutil.copytree(phantom_root, folder / "data")
    (folder / "input").mkdir()
    image = min((folder / "data" / "images").iterdir())
    shutil.copy(image, folder / "input" / "a.png")
    shutil.copy(image, folder / "input" / os.fsdecode(b"\xff.png"))
    (folder / "input" / os.fsdecode(b"\xfe.dcm")).write_bytes(b"no DICOM")
    monkeypatch.chdir(folder)
    train(compose_config("train", [*phantom_overrides(Path("data")), *ONE_STEP], folder / "run"))
    assert r"\udcffolder/run" in capfd.readouterr().out
    checkpoint = "checkpoint=run/checkpoints/best.ckpt"
    evaluate(compose_config("evaluate", [checkpoint], folder / "evaluation"))
    with pytest.raises(PartlyDoneError) as error:
        predict(compose_config("predict", [checkpoint, "input=input"], folder / "out"))
    assert "\udcfe.dcm' is not a readable DICOM image" in str(error.value)
    assert r"'\udcff' cannot begin a file name" in str(error.value)
    assert (folder / "out" / "a.json").is_file()
    report(compose_config("report", ["runs=run", "figures=[threshold_ablation]"], folder / "report"))


def test_a_name_that_a_library_cannot_take_is_told_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "runs=a"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(r"error: 'r\udcffun': a name that is no UTF-8")
    assert done.stderr.count("\n") == 1
