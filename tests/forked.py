"""Runs Python in processes that have imported PyTorch and Lightning already, which takes longest.

``forked("-m", "modise_lightning.train", ...)`` stands for ``python -m modise_lightning.train ...``: a process
with its own arguments, folder, environment, streams, signals and exit code. It is forked from a server (of
the standard library) that has imported the libraries and nothing that a command changes. What is about the
start itself, such as which modules a command imports, is run by the interpreter instead.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# None of the commands itself, which would then not run as a new module.
PRELOADED = [
    "lightning",
    "cv2",
    "PIL.Image",
    "hydra.main",
    "forked",
    "modise_lightning.callbacks.evaluation_charts",
    "modise_lightning.callbacks.pictures",
    "modise_lightning.callbacks.wandb_dashboard",
    "modise_lightning.configuration.assembly",
    "modise_lightning.configuration.starting",
    "modise_lightning.prediction.baselines",
]


@dataclass(frozen=True)
class Done:
    """How a process ended.

    Attributes:
        returncode: Its exit code; negative for the signal that ended it.
        stdout: What it wrote.
        stderr: What it wrote of errors.
    """

    returncode: int
    stdout: str
    stderr: str


class Forked:
    """A process that runs Python with arguments, as ``subprocess.Popen`` does with the interpreter's."""

    def __init__(
        self,
        *arguments: str,
        folder: Path | None = None,
        **environment: str,
    ) -> None:
        """Start it.

        Args:
            arguments: ``-m`` and a module, or a file, and what follows them.
            folder: That it runs in; this process's if left out.
            environment: Variables to change.
        """
        self._streams = [Path(tempfile.mkstemp(prefix="forked-")[1]) for _ in range(2)]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._process = context.Process(
            target=_run,
            args=(list(arguments), str(folder or Path.cwd()), variables, *map(str, self._streams)),
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Give its exit code, or None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def told(self) -> str:
        """Give what it has written of errors until now."""
        return self._streams[1].read_text(errors="replace")

    def wait(self, timeout: float = 300) -> Done:
        """Wait for its end.

        Raises:
            TimeoutError: It was ended after so many seconds.
        """
        self._process.join(timeout)
        code = self.poll()
        self.kill()
        self._process.join()
        output, errors = (path.read_text(errors="replace") for path in self._streams)
        for path in self._streams:
            path.unlink(missing_ok=True)
        if code is None:
            raise TimeoutError(f"ended after {timeout} s: {output[-2000:]}\n{errors[-2000:]}")
        return Done(code, output, errors)


def forked(*arguments: str, folder: Path | None = None, timeout: float = 300, **environment: str) -> Done:
    """Run Python with arguments to its end, as ``subprocess.run`` does with the interpreter."""
    return Forked(*arguments, folder=folder, **environment).wait(timeout)


def wait_until(holds: Callable[[], bool], process: Forked, timeout: float = 300) -> None:
    """Wait for something that a process does.

    Raises:
        AssertionError: The process ended before, or did not do it in time.
    """
    end = time.monotonic() + timeout
    while not holds():
        code = process.poll()
        assert code is None, f"ended with {code}: {process.told()}"
        assert time.monotonic() < end
        time.sleep(0.05)


def _run(
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    output: str,
    errors: str,
) -> None:
    """Be the interpreter, in the new process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    for number, path in ((1, output), (2, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115 (until its end)
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    # A shell that runs the tests in the background has it ignored, which processes inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # of its own processes: the system's usual one
    is_module = arguments[0] == "-m"
    sys.argv = arguments[1:] if is_module else arguments
    try:
        if is_module:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        # As at an interpreter's end, which multiprocessing leaves out.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
