"""Two starts at once make a dataset once, and a killed owner leaves no lock."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modise_lightning.data.prepared.ownership import one_at_a_time


def hold(root: str, held: "multiprocessing.synchronize.Event", seconds: float) -> None:
    with one_at_a_time(Path(root)):
        held.set()
        time.sleep(seconds)
        Path(root).touch()


def test_a_second_owner_waits_and_says_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    owner = context.Process(target=hold, args=(str(tmp_path / "data"), held, 1.0))
    owner.start()
    assert held.wait(60)
    with (
        pytest.warns(UserWarning, match="being prepared by another process"),
        one_at_a_time(tmp_path / "data"),
    ):
        assert (tmp_path / "data").exists()  # the other one had come to its end
    owner.join()
    assert owner.exitcode == 0


def test_a_killed_owner_leaves_the_dataset_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    owner = context.Process(target=hold, args=(str(tmp_path / "data"), held, 600.0))
    owner.start()
    assert held.wait(60)
    owner.kill()
    owner.join()
    with one_at_a_time(tmp_path / "data"):
        pass


def test_two_preparations_at_once_both_end_well(tmp_path: Path) -> None:
    root = tmp_path / "made" / "phantom"
    command = [sys.executable, "-m", "modise_lightning.prepare", "data=phantom", f"data.root={root}"]
    command += [
        "data.preparer.num_patients=10",
        "data.preparer.image_size=64",
        "data.preparer.num_processes=1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [*command, f"hydra.run.dir={tmp_path / name}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    outputs = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], outputs
    assert json.loads((root / "panoptic.json").read_text())["images"]
