"""Cores that others leave: by hand, and beside a real process that wants the same core."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.free_cores import CoreTimes, free_cores

BESIDE = """
import os, subprocess, sys, time
from modise_lightning.free_cores import CoreTimes, free_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    before, end = CoreTimes.now(), time.monotonic() + 3
    while time.monotonic() < end:
        pass
    print(free_cores(before, CoreTimes.now()))
finally:
    other.kill()
"""


@pytest.mark.parametrize(
    ("unused", "own", "expected"),
    [
        (20, 0, 2),  # nobody does anything
        (0, 20, 2),  # this process has both cores
        (10, 10, 2),  # one of them
        (0, 10, 1),  # the other one belongs to others
        (0, 4, 0.4),  # four others on both, and one thread here
        (0, 6.7, 0.67),  # and two threads here
        (8, 2, 1),  # both half idle
    ],
)
def test_by_hand(unused: float, own: float, expected: float) -> None:
    """In ten seconds of two cores."""
    before = CoreTimes(clock=100, unused=50, counted=300, own=7)
    after = CoreTimes(clock=110, unused=50 + unused, counted=320, own=7 + own)
    assert free_cores(before, after) == pytest.approx(expected)


@given(seconds=st.floats(0, 100), counted=st.floats(0, 10))
def test_a_system_that_counts_nothing_says_nothing(seconds: float, counted: float) -> None:
    after = CoreTimes(clock=seconds, unused=0, counted=counted, own=seconds)
    known = seconds > 0 and counted >= seconds / 2
    assert (free_cores(CoreTimes(0, 0, 0, 0), after) is not None) == known


def test_a_process_on_the_same_core_takes_half_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 0.75  # less than half if more processes want it
