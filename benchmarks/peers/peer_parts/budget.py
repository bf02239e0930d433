"""Processor time of a training, and how long a training may be so that its schedule ends with the budget."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence


class ProcessorClock:
    """Adds up the processor seconds of this process while it runs.

    Attributes:
        seconds: So far, of all threads, in user and kernel mode.
    """

    def __init__(self) -> None:
        """Start stopped, at 0."""
        self.seconds = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Run on."""
        self._started = time.process_time()

    def read(self) -> float:
        """Give the seconds so far, those of a running clock included."""
        return self.seconds + (0.0 if self._started is None else time.process_time() - self._started)

    def stop(self) -> None:
        """Stop; without effect on a clock that stands."""
        if self._started is not None:
            self.seconds += time.process_time() - self._started
            self._started = None


def peak_memory_mb() -> float:
    """Give the largest resident memory of this process so far, in 10^6 bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def steps_within(budget: float, step: float) -> int:
    """Give the number of steps of equal length that fit into the budget; at least 1.

    Args:
        budget: Processor seconds.
        step: Processor seconds of a step.
    """
    return max(1, int(budget / step))


def epochs_within(budget: float, measured: Sequence[float]) -> int:
    """Give the number of epochs that fit into the budget; at least 1.

    The first epochs may be longer than later ones (features are computed once and kept), so the measured ones
    count as they were, and each further one as the shortest of them.

    Args:
        budget: Processor seconds.
        measured: Processor seconds of the first epochs of such a training.
    """
    spent = 0.0
    for number, epoch in enumerate(measured):
        spent += epoch
        if spent > budget:
            return max(1, number)
    return len(measured) + int((budget - spent) / min(measured))


def steps_of_epoch(left: float, epochs: int, step: float) -> int:
    """Give the steps of the next epoch, so that what is left of the budget lasts for all epochs; at least 1.

    Asked before each epoch with what a step has taken until then, it ends with the budget whatever the first
    measurement was.

    Args:
        left: Processor seconds.
        epochs: That are still to come, this one included.
        step: Processor seconds of a step.
    """
    return max(1, round(left / (epochs * step)))
