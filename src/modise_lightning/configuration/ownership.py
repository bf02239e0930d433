"""Gives a folder one owner at a time among processes, by a lock that the operating system frees.

A killed owner's lock is free at once. On NFS the lock holds between machines as far as the server's locking
(``flock``, forwarded as byte-range locks) does; mounts with ``nolock`` or ``local_lock`` keep it to each
machine.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.errors import UserError
from modise_lightning.json_text import parse_json

_POLL_SECONDS = 0.1
# Where launchers (Lightning's, torchrun, SLURM, MPI) tell the processes of one training their numbers.
_RANKS = (
    "RANK",
    "LOCAL_RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "SLURM_PROCID",
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "JSM_NAMESPACE_RANK",
)
# From taking the lock to telling who took it.
_MOST_SECONDS_NAMELESS = 1.0


def is_first_process() -> bool:
    """Whether this is the first process of a training, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


@contextmanager
def wait_to_own(folder: Path, purpose: str) -> Iterator[None]:
    """Own a folder, after whoever owns it now.

    Args:
        folder: Need not exist; the lock is a hidden file beside it.
        purpose: What the owner does, as in "waiting for {purpose} by process 1 on host 'a'".
    """
    lock = folder.absolute().parent / f".{folder.absolute().name}.lock"
    if not _is_lockable(lock):
        print(f"warning: '{lock}' cannot be written; {purpose} goes on without a lock.", file=sys.stderr)
        yield
        return
    with _owned(lock) as taken:
        if taken:
            yield
            return
        print(f"waiting for {purpose} by {_name_owner(lock)}", file=sys.stderr)
    with _owned(lock, wait=True):
        yield


@contextmanager
def own_output_folder(folder: Path) -> Iterator[None]:
    """Own a run's folder, or refuse; of the processes of one training the first one owns it.

    Args:
        folder: Is made if it is missing; the lock is a hidden file in it.

    Raises:
        UserError: Another process owns it; names the process and its host.
    """
    if not is_first_process():
        yield
        return
    lock = folder / ".run.lock"
    with _owned(lock) as taken:
        if not taken:
            raise UserError(
                f"output_dir: '{folder}' belongs to {_name_owner(lock)}, which is still running. Wait for "
                "its end, or give another folder with hydra.run.dir=..."
            )
        yield


@contextmanager
def _owned(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock and say who does, if it is free or becomes so; give whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=-1 if wait else 0, poll_interval=_POLL_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except NotImplementedError:
        print(f"warning: {path}: this file system has no locks; nobody else may write here.", file=sys.stderr)
        yield True
        return
    owner = _owner_file(path)
    try:
        write_bytes_atomically(
            owner, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode()
        )
        yield True
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _is_lockable(lock: Path) -> bool:
    """Whether a lock beside a folder can be taken; the folder may be a place of its own (a mount)."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    return os.access(lock if lock.exists() else lock.parent, os.W_OK)


def _owner_file(lock: Path) -> Path:
    return lock.with_suffix(".owner")


def _name_owner(lock: Path) -> str:
    """Name the process that holds a lock, once it has said so."""
    last = time.monotonic() + _MOST_SECONDS_NAMELESS
    while True:
        try:
            document = parse_json(_owner_file(lock).read_bytes())
            return f"process {int(document['process'])} on host {str(document['host'])[:100]!r}"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > last:
                return "another process"
            time.sleep(_POLL_SECONDS)
