"""How many processor cores other processes leave to this one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class CoreTimes:
    """Seconds until now.

    Attributes:
        clock: On the clock.
        unused: That the cores which this process may use had nothing to do, added up.
        counted: That the system has counted of these cores at all, added up.
        own: That this process has computed.
    """

    clock: float
    unused: float
    counted: float
    own: float

    @classmethod
    def now(cls) -> CoreTimes:
        """Read them."""
        cores = psutil.cpu_times(percpu=True)
        if hasattr(os, "sched_getaffinity"):  # no affinity on macOS
            allowed = os.sched_getaffinity(0)
            if max(allowed) < len(cores):
                cores = [cores[number] for number in sorted(allowed)]
        unused = sum(each.idle + getattr(each, "iowait", 0.0) for each in cores)
        return cls(time.monotonic(), unused, sum(map(sum, cores)), time.process_time())


def free_cores(before: CoreTimes, after: CoreTimes) -> float | None:
    """Count the cores that this process could have used: those that it did, and those that nobody did.

    Args:
        before: Earlier.
        after: Later.

    Returns:
        Cores, on average over the time between; None where the system does not say what its cores did, as in
        some containers.
    """
    seconds = after.clock - before.clock
    if seconds <= 0 or after.counted - before.counted < seconds / 2:
        return None
    return (after.own - before.own + after.unused - before.unused) / seconds
