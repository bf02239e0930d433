"""A loader that ends with the mistake that one of its processes found, in the words of that mistake.

torch would wrap the message into its own, with the traceback of the other process.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from modise_lightning.errors import UserError

# What making a semaphore answers where no shared memory can be used.
_NO_SHARED_MEMORY = (
    errno.ENOENT,
    errno.ENOSYS,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
)
# The line in which torch tells that a process found none, or was ended for want of it.
_SHARED_MEMORY = re.compile(r"[^\n]*(shared memory|Bus error)[^\n]*")

Sample = TypeVar("Sample")
Batch = TypeVar("Batch")


class TellingDataset(Dataset[Sample | UserError], Generic[Sample]):
    """Gives a user's mistake instead of a sample, so that it reaches the main process as it is."""

    def __init__(self, samples: Dataset[Sample]) -> None:
        """Wrap the samples."""
        self.samples = samples

    def __len__(self) -> int:
        """Give the number of samples."""
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Sample | UserError:  # noqa: ANN401 (whatever the sampler gives)
        """Give a sample, or why there is none."""
        try:
            return self.samples[key]
        except UserError as error:
            return error


class TellingCollate(Generic[Sample, Batch]):
    """Collates samples, or gives the first mistake among them."""

    def __init__(self, collate: Callable[[Sequence[Sample]], Batch]) -> None:
        """Wrap what collates samples."""
        self._collate = collate

    def __call__(self, samples: Sequence[Sample | UserError]) -> Batch | UserError:
        """Give a batch, or why there is none."""
        found: list[Sample] = []
        for sample in samples:
            if isinstance(sample, UserError):
                return sample
            found.append(sample)
        return self._collate(found)


class TellingLoader(DataLoader[Batch]):
    """Raises in the main process what ``TellingDataset`` and ``TellingCollate`` handed over.

    Raises:
        UserError: While it is gone through; also where processes cannot share memory.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the batches."""
        mistake = None
        try:
            batches = super().__iter__()
        except OSError as error:
            if not self.num_workers or error.errno not in _NO_SHARED_MEMORY:
                raise
            raise _cannot_share(error.strerror) from error
        while True:
            try:
                batch = next(batches, None)
            except RuntimeError as error:
                reason = _SHARED_MEMORY.search(str(error))
                if not self.num_workers or reason is None:
                    raise
                mistake = _cannot_share(reason.group())
                break
            if batch is None:
                break
            if isinstance(batch, UserError):
                mistake = batch
                break
            yield batch
        if mistake is not None:
            # Ends the processes now: with what the error's traceback holds they would be waited for.
            self._iterator = None
            del batches
            raise mistake


def _cannot_share(reason: str | None) -> UserError:
    return UserError(
        f"num_workers: the loader processes cannot share memory ({reason}). Set num_workers=0, or give the "
        "machine more of /dev/shm (docker run --shm-size=8g)."
    )
