"""Several processes on one dataset or one folder: one owner at a time, and a killed one owns nothing."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forked import Forked, wait_until
from modise_lightning.configuration.ownership import own_output_folder, wait_to_own
from modise_lightning.errors import UserError
from tiny_runs import phantom_overrides

OWNER = (
    "import sys, pathlib\n"
    "from modise_lightning.configuration.ownership import own_output_folder\n"
    "with own_output_folder(pathlib.Path(sys.argv[1])):\n"
    "    print('mine', flush=True)\n"
    "    sys.stdin.read()\n"
)


@contextlib.contextmanager
def owner_of(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process own an output folder."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mine\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "command", ["train", "evaluate checkpoint=a", "predict checkpoint=a input=b", "report runs=a"]
)
def test_a_second_run_in_a_folder_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    name, *overrides = command.split()
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("of: the owner")
    with owner_of(tmp_path) as owner:
        done = subprocess.run(
            [sys.executable, "-m", f"modise_lightning.{name}", f"hydra.run.dir={tmp_path}", *overrides],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: output_dir: '{tmp_path}' belongs to process {owner.pid} on host {socket.gethostname()!r}, "
        "which is still running. Wait for its end, or give another folder with hydra.run.dir=...\n"
    )
    assert (tmp_path / ".hydra" / "config.yaml").read_text() == "of: the owner"


@pytest.mark.parametrize("end", ["it ends", "it is killed"])
def test_a_folder_is_free_after_its_owner(end: str, tmp_path: Path) -> None:
    with owner_of(tmp_path) as owner:
        with pytest.raises(UserError, match=f"process {owner.pid} "), own_output_folder(tmp_path):
            pass
        if end == "it ends":
            owner.communicate()
            assert owner.returncode == 0
        else:
            owner.send_signal(signal.SIGKILL)
            owner.wait()
        with own_output_folder(tmp_path):
            assert json.loads((tmp_path / ".run.owner").read_text())["process"] == os.getpid()
    assert not (tmp_path / ".run.owner").exists()


@pytest.mark.parametrize(
    ("variable", "number", "refused"),
    [
        ("LOCAL_RANK", "1", False),
        ("NODE_RANK", "2", False),
        ("SLURM_PROCID", "3", False),
        ("RANK", "0", True),
    ],
)
def test_the_processes_of_one_training_share_their_folder(
    variable: str, number: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, number)
    with own_output_folder(tmp_path):
        again = pytest.raises(UserError, match="belongs to") if refused else contextlib.nullcontext()
        with again, own_output_folder(tmp_path):
            pass


def test_who_waits_goes_on_after_the_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def wait() -> None:
        with wait_to_own(tmp_path / "data", "the preparation of 'data'"):
            order.append("second")

    with wait_to_own(tmp_path / "data", "the preparation of 'data'"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.5)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    place = f"process {os.getpid()} on host {socket.gethostname()!r}"
    assert capsys.readouterr().err == f"waiting for the preparation of 'data' by {place}\n"


TRAINING = (
    "import sys\n"
    "from hydra import compose, initialize_config_dir\n"
    "from modise_lightning.configuration.assembly import build_data\n"
    "from modise_lightning.configuration.command_line import config_directory\n"
    "with initialize_config_dir(str(config_directory()), version_base='1.3'):\n"
    "    build_data(compose('train', overrides=[*sys.argv[1:], 'name=a', 'output_dir=b']))\n"
)


@pytest.mark.parametrize("program", [["training.py"], ["-m", "modise_lightning.prepare"]])
def test_who_waited_takes_the_finished_dataset(
    program: Sequence[str], phantom_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "phantom"
    (tmp_path / "training.py").write_text(TRAINING)
    with wait_to_own(root, "the preparation"):
        process = Forked(*program, *phantom_overrides(root), folder=tmp_path)
        wait_until(lambda: process.told().endswith("\n"), process)
        shutil.copytree(phantom_root, root)
    done = process.wait()
    line = f"waiting for the preparation of '{root}' by process {os.getpid()} on host "
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert done.stderr.startswith(line)


PREPARATION = (
    "import sys, pathlib\n"
    "from hydra import compose, initialize_config_dir\n"
    "from hydra.utils import instantiate\n"
    "from modise_lightning.configuration.command_line import config_directory\n"
    "from modise_lightning.configuration.ownership import wait_to_own\n"
    "with initialize_config_dir(str(config_directory()), version_base='1.3'):\n"
    "    config = compose('prepare', overrides=sys.argv[1:])\n"
    "with wait_to_own(pathlib.Path(config.data.root), 'it'):\n"
    "    print(instantiate(config.data.preparer, _convert_='all').prepare().counts)\n"
)


def test_of_several_preparations_at_once_none_fails(tmp_path: Path) -> None:
    program, folder = tmp_path / "preparation.py", tmp_path / "data"
    program.write_text(PREPARATION)
    folder.mkdir()
    processes = [Forked(str(program), *phantom_overrides(folder / "phantom")) for _ in range(3)]
    answers = [process.wait() for process in processes]
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers
    assert len({answer.stdout for answer in answers}) == 1
    assert sorted(path.name for path in folder.iterdir()) == [".phantom.lock", "phantom"]
