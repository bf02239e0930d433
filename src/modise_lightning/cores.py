"""How many processor cores this process may use, and threads that take no more of them."""

from __future__ import annotations


def available_cores() -> int:
    """Count the cores that this process may use: by its affinity and its container's limit (cgroups)."""
    import joblib  # takes a third of a second, which not every command needs

    return max(1, int(joblib.cpu_count()))


def use_threads(number: int | None) -> None:
    """Let PyTorch and OpenCV compute with so many threads.

    PyTorch by itself takes as many as the machine has cores, however few a container may use: they then wait
    for each other most of the time.

    Args:
        number: Of threads; None takes all cores that this process may use, at most OMP_NUM_THREADS.
    """
    import cv2
    import torch

    threads = number or min(torch.get_num_threads(), available_cores())
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
