"""Ends a command that is told to end with the exit code that shells expect."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Never

# As shells give them: 128 and the number of the signal.
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Terminated(SystemExit):
    """The process was told to end by SIGTERM, as cluster schedulers and ``kill`` do."""

    def __init__(self) -> None:
        """Carry the exit code."""
        super().__init__(TERMINATED)


def end_by_exception() -> None:
    """Let SIGTERM raise ``Terminated``, so that files are closed and processes are ended on the way out."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> Never:
    # A second one, as impatient schedulers send, must not end the way out.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def is_interruption(error: BaseException) -> bool:
    """Whether Ctrl+C is behind an exception; Lightning exits with code 1 after it."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
