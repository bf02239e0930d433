"""Gives kinds of input to the worker in turn, and starts it anew when a case ended it."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing.kinds import Kind
from fuzzing.worker import SECONDS, Outcome, serve

_WALL_SECONDS = 8 * SECONDS  # a case that waits for something uses no processor
_PROGRESS_SECONDS = 10


@dataclass
class Report:
    """What was found.

    Attributes:
        counts: Cases of each kind by verdict.
        findings: (kind, iteration, message) of each finding.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[tuple[str, int, str]] = field(default_factory=list)


class Session:
    """A worker and the folder that it works in."""

    def __init__(self, kinds: Sequence[Kind], folder: Path) -> None:
        """Prepare the folders; the worker starts with the first case.

        Args:
            kinds: All kinds.
            folder: An empty folder.
        """
        self._kinds = kinds
        self._folder = folder
        self._worker: tuple[multiprocessing.process.BaseProcess, Connection] | None = None
        for kind in kinds:
            (folder / kind.name).mkdir()
            kind.prepare(folder / kind.name)

    def __enter__(self) -> Session:
        """Give the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self._stop()

    def run(self, index: int, data: bytes) -> Outcome:
        """Run a case.

        Args:
            index: Of the kind.
            data: The input.
        """
        process, connection = self._worker or self._start()
        connection.send((index, data))
        if not connection.poll(_WALL_SECONDS):
            self._stop()
            return Outcome("finding", f"hang: no answer in {_WALL_SECONDS} s")
        try:
            outcome: Outcome = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            self._worker = None
            code = process.exitcode or 0
            if code == -signal.SIGXCPU:
                return Outcome("finding", f"hang: over {SECONDS} s of the processor")
            return Outcome(
                "finding", f"the process ended with {signal.Signals(-code).name if code < 0 else code}"
            )
        return outcome

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        context = multiprocessing.get_context("fork")  # so that libraries are not imported each time
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._kinds, self._folder), daemon=True)
        process.start()
        theirs.close()
        self._worker = (process, ours)
        return self._worker

    def _stop(self) -> None:
        if self._worker is not None:
            process, connection = self._worker
            connection.close()
            process.kill()
            process.join()
            self._worker = None


def fuzz(
    session: Session,
    kinds: Sequence[Kind],
    *,
    seed: int,
    seconds: float,
    cases: int | None,
    found: Callable[[Kind, int, bytes, str], None],
    progress: Callable[[Report, float], None],
) -> Report:
    """Run the kinds in turn.

    Args:
        session: Of the same kinds.
        kinds: All kinds.
        seed: Decides every input.
        seconds: When no further round begins.
        cases: Or after how many cases of each kind; None for no such limit.
        found: Called with kind, iteration, input and message of each finding.
        progress: Called now and then.
    """
    report = Report({kind.name: Counter() for kind in kinds})
    start = shown = time.monotonic()
    iterations = [0] * len(kinds)
    while time.monotonic() - start < seconds and any(cases is None or done < cases for done in iterations):
        for index, kind in enumerate(kinds):
            turn = time.monotonic()
            while (now := time.monotonic()) - start < seconds and now - turn < kind.turn_seconds:
                if iterations[index] == cases:
                    break
                iteration = iterations[index]
                iterations[index] += 1
                data = kind.make_input(seed, iteration)
                outcome = session.run(index, data)
                if iteration < len(kind.valid) and outcome.verdict == "refused":
                    outcome = Outcome("finding", f"a valid input was refused: {outcome.message}")
                report.counts[kind.name][outcome.verdict] += 1
                if outcome.verdict == "finding":
                    report.findings.append((kind.name, iteration, outcome.message))
                    found(kind, iteration, data, outcome.message)
                if time.monotonic() - shown > _PROGRESS_SECONDS:
                    shown = time.monotonic()
                    progress(report, shown - start)
    return report
