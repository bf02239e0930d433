"""Worker processes end with their parent, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

import modise_lightning

PARENT = (
    "import time\n"
    "from modise_lightning.data.preparation.parallel import map_in_processes\n"
    "if __name__ == '__main__':\n"
    "    with map_in_processes(time.sleep, [0.01, 0.01, 600, 600], 2, 'sleeping') as results:\n"
    "        next(results)\n"
    "        print('working', flush=True)\n"
    "        list(results)\n"
)


def test_workers_end_after_their_parent_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "working\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_every_pool_of_processes_is_of_that_kind() -> None:
    package = Path(modise_lightning.__file__).parent
    makers = [path.name for path in package.rglob("*.py") if "ProcessPoolExecutor(" in path.read_text()]
    assert makers == ["parallel.py"]
