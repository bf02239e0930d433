"""Time of work on a device: medians of repeated runs, after runs that warm up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from gpu_parts.record import Part


def median_seconds(run: Callable[[], object], part: Part, *, repeats: int, warmup: int = 2) -> float:
    """Time something that ends with all its work queued.

    Args:
        run: The work.
        part: Says which device to wait for.
        repeats: Timed runs.
        warmup: Runs before them, in which kernels are chosen and compiled.
    """
    for _ in range(1 if part.tiny else warmup):
        run()
    seconds = []
    for _ in range(1 if part.tiny else repeats):
        part.synchronize()
        start = time.perf_counter()
        run()
        part.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Stopwatch:
    """Splits a sequence of work into laps without waiting between them: CUDA events mark their ends."""

    def __init__(self, device: torch.device) -> None:
        """Start at the device's present work."""
        self._device = device
        self._marks: list[tuple[str, torch.cuda.Event | float]] = []
        self.lap("")

    def lap(self, name: str) -> None:
        """End a lap and name it."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((name, event))
        else:
            self._marks.append((name, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Wait for the device, and give the seconds of each lap."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        laps = {}
        for (_, before), (name, after) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(before, float) or isinstance(after, float):
                assert isinstance(before, float)
                assert isinstance(after, float)
                laps[name] = after - before
            else:
                laps[name] = before.elapsed_time(after) / 1000
        return laps
