"""Computes with fewer threads while other processes need the machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import lightning
import torch

from modise_lightning.cores import use_threads
from modise_lightning.free_cores import CoreTimes, free_cores

_log = logging.getLogger(__name__)
_PERIOD = 5.0  # seconds; chosen: what others do for less is not worth a change
_START = 2.0  # seconds that the start of a program takes at least; chosen: a wrong guess is mended soon


class ThreadCount(lightning.Callback):
    """Takes as many threads as there are free cores, and looks again every few seconds.

    The threads of an operator wait for each other by trying again and again. Where they do not all have a
    core, that takes several times the processor time of the work itself, from the other processes too.
    """

    def __init__(self, most: int, started: CoreTimes, read: Callable[[], CoreTimes] = CoreTimes.now) -> None:
        """Take the threads that others left while the program started.

        Args:
            most: Threads on a free machine.
            started: What the cores had done when it started.
            read: Reads what they have done.
        """
        self._most = self._wanted = most
        self._read = read
        self._last = started
        self._is_told = False
        self._follow(_START)

    def setup(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (nothing is used)
        """Count anew: what came before may have been other processes of this one, which prepared its data."""
        self._last = self._read()
        use_threads(self._wanted)

    def teardown(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (nothing is used)
        """Leave as many as there were: the next job of a multirun takes no more than it finds."""
        use_threads(self._most)

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (nothing is used)
        """Look, if it is time."""
        self._follow()

    def on_validation_batch_start(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Look, if it is time."""
        self._follow()

    def on_test_batch_start(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Look, if it is time."""
        self._follow()

    def _follow(self, period: float = _PERIOD) -> None:
        now = self._read()
        if now.clock - self._last.clock < period:
            return
        free = free_cores(self._last, now)
        self._last = now
        if free is None:
            return
        wanted = max(1, min(self._most, round(free)))
        if wanted == self._wanted:
            return
        self._wanted = wanted
        use_threads(wanted)
        if not self._is_told:
            _log.info(
                "others use this machine: %d of %d threads, more when it is free again. Equal seeds agree to "
                "rounding then; num_threads=%d keeps the number.",
                wanted,
                self._most,
                self._most,
            )
            self._is_told = True


def follow_free_cores(number: int | None, started: CoreTimes) -> list[lightning.Callback]:
    """Give the callback, unless somebody chose a number of threads, as a setting or by OMP_NUM_THREADS.

    Args:
        number: The setting; PyTorch has as many threads already.
        started: What the cores had done when the program started.
    """
    if number is not None or "OMP_NUM_THREADS" in os.environ:
        return []
    return [ThreadCount(torch.get_num_threads(), started)]
