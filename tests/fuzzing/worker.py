"""Runs single cases in a process of its own, within limits of time and memory."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from fuzzing.kinds import InsaneResultError, Kind, RefusedError
from modise_lightning.errors import UserError
from modise_lightning.messages import make_messages_visible

SECONDS = 15  # of the processor, so that a busy machine makes no finding
_MEMORY = 3 * 2**30  # address space beyond what the process has at its beginning
_LARGEST_OUTPUT = 10_000  # bytes that a case may print, warnings included

Verdict = Literal["accepted", "refused", "finding"]


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        verdict: Accepted with a sane result, refused as it should be, or a finding.
        message: What was said.
    """

    verdict: Verdict
    message: str = ""


def serve(connection: Connection, kinds: Sequence[Kind], folder: Path) -> None:
    """Take (kind's index, input) and send back outcomes until the other end closes.

    Args:
        connection: To the process that asks.
        kinds: All kinds.
        folder: For the inputs and what lies beside them; each kind has a folder in it.
    """
    output = os.open(folder / "output.txt", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    make_messages_visible()  # as the entry points do
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    empty = folder / "working-directory"
    while True:
        try:
            index, data = connection.recv()
        except EOFError:
            return
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        empty.mkdir(exist_ok=True)
        os.chdir(empty)
        outcome = _run(kinds[index], data, folder / kinds[index].name)
        sys.stdout.flush()
        sys.stderr.flush()
        printed = os.fstat(output).st_size
        if any(empty.iterdir()):
            outcome = Outcome("finding", f"left behind in the working directory: {os.listdir(empty)}")
            shutil.rmtree(empty)
        elif outcome.verdict != "finding" and printed > _LARGEST_OUTPUT:
            outcome = Outcome("finding", f"printed {printed} bytes: {os.pread(output, 300, 0)!r}")
        connection.send(outcome)


def _run(kind: Kind, data: bytes, folder: Path) -> Outcome:
    path = folder / kind.file_name
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            kind.read(folder)
    except UserError as error:
        if "\n" in str(error) or not str(error).strip() or len(str(error)) > 3000:
            return Outcome("finding", f"no message of one line: {str(error)[:500]!r}")
        return Outcome("refused", str(error))
    except RefusedError as error:
        return Outcome("refused", str(error))
    except InsaneResultError as error:
        return Outcome("finding", f"insane result: {error}")
    except BaseException as error:  # Whatever else comes out of a reader is what is searched for.
        place = traceback.extract_tb(error.__traceback__)
        own = next((f for f in reversed(place) if "modise_lightning" in f.filename), place[-1])
        where = f"{Path(own.filename).name}:{own.lineno} ({place[-1].name})"
        return Outcome("finding", f"{type(error).__name__}: {' '.join(str(error).split())[:200]} at {where}")
    return Outcome("accepted")


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make the folder of the inputs."""
    return tempfile.TemporaryDirectory(prefix="fuzzing-", ignore_cleanup_errors=True)
