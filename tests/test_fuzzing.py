"""A short run of the fuzzer over all readers, and that it finds what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzzing.kinds import InsaneResultError, Kind
from fuzzing.session import Session
from fuzzing.worker import Outcome
from modise_lightning.errors import UserError


@pytest.mark.parametrize(
    ("cases", "kinds"),
    [
        (
            "14",
            "via sheet vindr cbis inbreast tompei prepared-index prepared-folds coco journal categories "
            "results records run- feature safetensors pickled weights-config vocabulary tuned-settings "
            "overrides published-pickle published-config",
        ),
        ("6", "png jpeg tiff dicom prepared-id-map prepared-image checkpoint stored-config package"),
    ],
    ids=["small files", "images and checkpoints"],
)
def test_no_reader_fails_on_a_few_mutated_files_of_each_kind(cases: str, kinds: str, tmp_path: Path) -> None:
    """In a process of its own, whose memory is its own too; valid files are among them."""
    command = [sys.executable, "-m", "fuzzing", "--seconds", "600", "--seed", "7", "--cases", cases]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        [*command, "--save", str(tmp_path), "--kinds", *kinds.split()],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _raise(error: BaseException) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        raise error

    return read


def _wait(folder: Path) -> None:
    while True:
        time.monotonic()


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda folder: None, "accepted: "),
        (_raise(UserError("x: wrong. Mend it.")), "refused: x: wrong. Mend it."),
        (_raise(UserError("")), "finding: no message of one line"),
        (_raise(KeyError("x")), "finding: KeyError"),
        (_raise(SystemExit(3)), "finding: SystemExit"),
        (_raise(InsaneResultError("nan")), "finding: insane result"),
        (lambda folder: bytearray(2**33), "finding: MemoryError"),
        (lambda folder: os.abort(), "finding: the process ended with SIGABRT"),
        (lambda folder: Path("marker").touch(), "finding: left behind in the working directory: ['marker']"),
        (lambda folder: os.write(2, b"x" * 20_000), "finding: printed 20000 bytes"),
        (_wait, "finding: hang: over 1 s"),
    ],
)
def test_what_is_a_finding(
    read: Callable[[Path], object], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzzing.worker.SECONDS", 1)
    monkeypatch.setattr("fuzzing.session.SECONDS", 1)
    with Session([Kind("kind", "file", read, [b""])], tmp_path) as session:
        outcome = session.run(0, b"")
        assert f"{outcome.verdict}: {outcome.message}".startswith(expected)
        assert isinstance(session.run(0, b""), Outcome)  # the worker goes on, or another one does


def test_inputs_depend_on_seed_kind_and_iteration_alone() -> None:
    kind = Kind("kind", "file", lambda folder: None, [bytes(range(256))])
    inputs = [kind.make_input(seed, iteration) for seed in (1, 2) for iteration in range(20)]
    assert inputs == [kind.make_input(seed, iteration) for seed in (1, 2) for iteration in range(20)]
    assert len(set(inputs)) > 30
