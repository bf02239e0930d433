"""Runs that are ended from outside: exit codes, whole checkpoints, one line for a refusal of the system."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from forked import Forked, forked, wait_until
from modise_lightning.training.checkpoint import read_checkpoint
from modise_lightning.training.checkpoint_writing import AtomicCheckpointIO
from tiny_runs import phantom_overrides

LONG = ["trainer.max_epochs=1000", "trainer.check_val_every_n_epoch=1000", "trainer.limit_train_batches=1"]
LONG += ["batch_size=2", "baselines=[]", "callbacks.progress=null", "trainer.accelerator=cpu"]


@contextlib.contextmanager
def command(root: Path, folder: Path, *overrides: str) -> Iterator[Forked]:
    """Start a training that does not end by itself, and wait for its first checkpoint."""
    line = ["-m", "modise_lightning.train", f"hydra.run.dir={folder}"]
    process = Forked(*line, *phantom_overrides(root), *LONG, *overrides)
    try:
        wait_until((folder / "checkpoints" / "last.ckpt").is_file, process)
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGTERM, 143, "error: ended by SIGTERM."), (signal.SIGINT, 130, "error: interrupted.")],
)
def test_a_signal_ends_with_its_code_and_says_how_to_resume(
    number: signal.Signals, code: int, line: str, phantom_root: Path, tmp_path: Path
) -> None:
    with command(phantom_root, tmp_path) as process:
        process.send_signal(number)
        done = process.wait()
    errors = done.stderr.splitlines()
    assert done.returncode == code
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert errors[-1] == line
    assert errors[-2].startswith("The training has not ended; go on with: python -m modise_lightning.train ")
    assert errors[-2].endswith(f" resume={last}")
    assert not any("Traceback" in text for text in errors)
    assert "optimizer_states" in read_checkpoint(last)


def test_a_killed_run_leaves_whole_checkpoints(phantom_root: Path, tmp_path: Path) -> None:
    with command(phantom_root, tmp_path) as process:
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "optimizer_states" in read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")


def test_a_writer_that_is_killed_again_and_again_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    code = (
        "import sys, itertools, torch\n"
        "from modise_lightning.training.checkpoint_writing import AtomicCheckpointIO\n"
        "for number in itertools.count():\n"
        "    checkpoint = {'number': number, 'values': torch.full((500_000,), float(number))}\n"
        "    AtomicCheckpointIO().save_checkpoint(checkpoint, sys.argv[1])\n"
    )
    program = tmp_path / "writer.py"
    program.write_text(code)
    for round_number in range(4):
        before = 0 if not path.exists() else path.stat().st_mtime_ns
        process = Forked(str(program), str(path))
        wait_until(lambda: path.exists() and path.stat().st_mtime_ns > before, process)  # noqa: B023 (called here)
        time.sleep(0.013 * round_number)
        process.kill()
        process.wait()
        stored = torch.load(path, weights_only=True)
        assert torch.equal(stored["values"], torch.full((500_000,), float(stored["number"])))


def test_checkpoints_are_never_written_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folder for temporary files cannot be used at all.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


def test_a_full_disk_is_one_line_and_leaves_no_half_file(phantom_root: Path, tmp_path: Path) -> None:
    arguments = [f"hydra.run.dir={tmp_path / 'run'}", *phantom_overrides(phantom_root), *LONG]
    process = Forked("-m", "modise_lightning.train", *arguments)
    # Smaller than a checkpoint of the tiny model, larger than everything else that a run writes.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
    done = process.wait()
    errors = done.stderr.splitlines()
    assert done.returncode == 1
    assert errors[-1].startswith("error: ")
    assert "File too large" in errors[-1]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").rglob("*.ckpt*"))


@pytest.mark.parametrize("place", ["file", "below a file", "system"])
def test_an_unusable_output_folder_is_one_line(place: str, phantom_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "run", "system": "/proc/run"}[
        place
    ]
    arguments = [f"hydra.run.dir={folder}", *phantom_overrides(phantom_root), *LONG]
    done = forked("-m", "modise_lightning.train", *arguments)
    errors = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(errors) == 1, errors
    assert errors[0].startswith(f"error: '{folder}")


def test_a_terminal_of_few_letters_shows_the_others_as_question_marks(
    phantom_root: Path, tmp_path: Path
) -> None:
    arguments = [f"hydra.run.dir={tmp_path}", *phantom_overrides(phantom_root), *LONG, "name='Läsion'"]
    arguments += ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.limit_val_batches=1"]
    arguments += ["trainer.limit_test_batches=1", "pictures.num_images=1"]
    done = forked("-m", "modise_lightning.train", *arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "L?sion" in done.stdout
    assert (tmp_path / "results.json").is_file()


def test_what_a_killed_writer_left_is_removed_at_the_next_write(tmp_path: Path) -> None:
    for name in (".last.ckpt.half", ".last.ckpt.1/last.ckpt", ".best.ckpt.half", "last.ckpt.mine"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    AtomicCheckpointIO().save_checkpoint({"a": 1}, tmp_path / "last.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".best.ckpt.half",
        "last.ckpt",
        "last.ckpt.mine",
    ]


@pytest.mark.parametrize("arguments", [["--help"], ["runs=a"]])
def test_a_reader_that_has_enough_ends_the_command_quietly(arguments: list[str], tmp_path: Path) -> None:
    code = "from modise_lightning.configuration.command_line import run_command\n"
    code += "run_command('tables', lambda config: print('x' * 10**6))"
    ours, theirs = os.pipe()
    os.close(ours)  # as head does once it has its lines
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
