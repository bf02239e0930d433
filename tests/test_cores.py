"""Threads follow what a process may use, whatever the machine has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forked import forked

COUNT = (
    "import os, cv2, torch\n"
    "os.sched_setaffinity(0, {affinity})\n"
    "from modise_lightning.cores import available_cores, use_threads\n"
    "torch.set_num_threads({threads})\n"
    "use_threads({number})\n"
    "print([available_cores(), torch.get_num_threads(), cv2.getNumThreads()])\n"
)
CORES = "os.sched_getaffinity(0)"
ONE_CORE = "{min(os.sched_getaffinity(0))}"
IN_ITS_OWN = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


@pytest.mark.parametrize(
    ("affinity", "threads", "number", "expected"),
    [
        (ONE_CORE, 8, None, [1, 1, 1]),
        (CORES, 1, None, [None, 1, 1]),  # as with OMP_NUM_THREADS=1
        (ONE_CORE, 1, 3, [1, 3, 3]),
    ],
)
def test_threads_follow_affinity_and_settings(
    affinity: str, threads: int, number: int | None, expected: list[int | None], tmp_path: Path
) -> None:
    (tmp_path / "count.py").write_text(COUNT.format(affinity=affinity, threads=threads, number=number))
    done = forked(str(tmp_path / "count.py"))
    assert done.returncode == 0, done.stderr
    found = [int(text) for text in done.stdout.strip("[]\n").split(",")]
    assert all(one in (None, other) for one, other in zip(expected, found, strict=True)), found


@pytest.mark.skipif(
    not shutil.which("unshare") or bool(subprocess.run([*IN_ITS_OWN, "true"], check=False).returncode),
    reason="needs a place of its own for /sys/fs/cgroup",
)
def test_a_containers_limit_counts() -> None:
    """As Kubernetes and Docker's --cpus give it: microseconds of the processor in a period."""
    limit = 'mount -t tmpfs none /sys/fs/cgroup && echo "100000 100000" > /sys/fs/cgroup/cpu.max && exec "$@"'
    code = COUNT.format(affinity=CORES, threads=8, number=None)
    command = [*IN_ITS_OWN, limit, "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[1, 1, 1]\n"), done.stderr
