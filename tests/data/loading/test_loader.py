"""A machine without shared memory is told in one line, by what cannot do without."""

import shutil
import subprocess
import sys

import pytest

IN_ITS_OWN = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
LOADER = (
    "import torch\n"
    "from modise_lightning.data.loading.loader import TellingLoader\n"
    "from modise_lightning.errors import UserError\n"
    "try:\n"
    "    list(TellingLoader([torch.zeros(300, 300)] * 8, batch_size=2, num_workers=2))\n"
    "except UserError as error:\n"
    "    print(error)\n"
)
PREPARATION = (
    "import time\n"
    "from modise_lightning.data.preparation.parallel import map_in_processes\n"
    "from modise_lightning.errors import UserError\n"
    "try:\n"
    "    with map_in_processes(time.sleep, [0, 0], 2, 'sleeping') as results:\n"
    "        list(results)\n"
    "except UserError as error:\n"
    "    print(error)\n"
)


def _can_change_mounts() -> bool:
    return bool(shutil.which("unshare")) and not subprocess.run([*IN_ITS_OWN, "true"], check=False).returncode


@pytest.mark.skipif(not _can_change_mounts(), reason="needs a place of its own for /dev/shm")
@pytest.mark.parametrize(
    ("mount", "code", "begin", "end"),
    [
        ("ro", LOADER, "num_workers: the loader processes cannot share memory (", "--shm-size=8g).\n"),
        ("size=64k", LOADER, "num_workers: the loader processes cannot share memory (", "--shm-size=8g).\n"),
        ("ro", PREPARATION, "data.preparer.num_processes: ", "Set data.preparer.num_processes=1.\n"),
    ],
)
def test_want_of_shared_memory_is_one_line(mount: str, code: str, begin: str, end: str) -> None:
    done = subprocess.run(
        [
            *IN_ITS_OWN,
            f'mount -t tmpfs -o {mount} none /dev/shm && exec "$@"',
            "sh",
            sys.executable,
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(begin), done.stdout
    assert done.stdout.endswith(end)
    assert done.stdout.count("\n") == 1
