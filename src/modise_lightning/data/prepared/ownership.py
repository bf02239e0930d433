"""A prepared dataset is made by one process at a time; others wait for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the lock of a dataset's folder, which the system frees when its owner ends, however it ends.

    The lock is a file beside the folder, which may be replaced as a whole. Over a network it is as good as
    the file system's own locks.

    Args:
        root: Folder of the prepared dataset.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root.with_name(f".{root.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn(f"'{root}' is being prepared by another process; waiting for it.", stacklevel=3)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
