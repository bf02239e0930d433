"""The commands answer quickly, from any directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forked import forked

COMMANDS = ["train", "evaluate", "predict", "prepare", "import_checkpoint", "tables", "figures", "report"]
COMMANDS += ["preview", "tune", "package", "info", "serve"]


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_answering_needs_no_heavy_import(command: str, tmp_path: Path) -> None:
    code = (
        f"import sys, modise_lightning.{command}; "
        "print([name for name in ('torch', 'lightning', 'numpy', 'cv2', 'pydantic') if name in sys.modules])"
    )
    assert run("-c", code, folder=tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_configuration_is_shown_from_any_directory(command: str, tmp_path: Path) -> None:
    shown = run("-m", f"modise_lightning.{command}", "--cfg", "job", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "output_dir:" in shown.stdout


def test_help_lists_the_choices(tmp_path: Path) -> None:
    shown = run("-m", "modise_lightning.train", "--help", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for choice in ("mame", "biomedclip", "m_odise", "phantom", "wandb"):
        assert choice in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backbone=mme"], "mme"),
        (["backbone=1.5", "--cfg", "job"], "error: backbone=1.5: it is chosen by a name that --help lists"),
        (["seed=1", "experiment=null"], "error: experiment=null: it is chosen by a name"),
        (["inference/clip_head=true"], "error: inference/clip_head=true: it is chosen by a name"),
        (["backbone=[[1]]"], "backbone=[[1]]: "),
        (["sed=1"], "sed"),
        (["optimizer.learning_rat=1"], "learning_rat"),
        (["optimizer.learning_rate=fast"], "optimizer.learning_rate: expected float, found 'fast'"),
        (["backbone=mame", "backbone.weights=nowhere"], "no file or folder 'nowhere'"),
        (["resume=nowhere.ckpt"], "resume: no file 'nowhere.ckpt'"),
        (["backbone=mame", f"backbone.weights={'a' * 300}"], f"no file or folder '{'a' * 300}'"),
        ([f"data.root={'a' * 300}"], "': File name too long."),
        ([f"resume={'a' * 300}"], "': File name too long."),
    ],
)
def test_a_wrong_word_ends_with_a_helpful_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    answer = forked("-m", "modise_lightning.train", *arguments, folder=tmp_path)
    assert answer.returncode != 0
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
