"""Does independent pieces of work in several processes under a progress bar."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

import cv2
from rich.progress import track

from modise_lightning.console import Console
from modise_lightning.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


def start_processes(number: int) -> ProcessPoolExecutor:
    """Make a pool of worker processes that end with this process, however it ends.

    Raises:
        UserError: The system has no semaphores, which are in shared memory.
    """
    try:
        # Forking is unsafe once other libraries have started threads.
        return ProcessPoolExecutor(number, get_context("spawn"), initializer=_begin_worker)
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"data.preparer.num_processes: worker processes cannot be started ({error}), perhaps for want of "
            "/dev/shm. Set data.preparer.num_processes=1."
        ) from error


def _begin_worker() -> None:
    """Compute with one thread, as the processes fill the cores, and end with the parent, however it ends."""
    cv2.setNumThreads(1)
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def map_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_processes: int, title: str
) -> Iterator[Iterator[Result]]:
    """Apply a function to each task, in order, with a progress bar on the error stream.

    Args:
        function: A module's function, so that worker processes find it.
        tasks: Its arguments, one each.
        num_processes: Number of worker processes; 1 works in this process.
        title: Stands before the bar.

    Yields:
        The results. Leaving the context early cancels what has not begun.

    Raises:
        UserError: A worker process was killed.
    """

    def tracked(results: Iterator[Result]) -> Iterator[Result]:
        return iter(track(results, title, len(tasks), console=Console(stderr=True), transient=True))

    if num_processes == 1 or len(tasks) < 2:
        yield tracked(map(function, tasks))
        return
    with start_processes(min(num_processes, len(tasks))) as executor:
        try:
            yield tracked(executor.map(function, tasks))
        except BaseException as error:
            executor.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "A worker process was killed, perhaps for want of memory. Run the command again with a "
                    "smaller data.preparer.num_processes; what is finished is kept."
                ) from error
            raise
