"""What every feature store has in common: entries by key, a limit in bytes, a count of hits and misses."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modise_lightning.errors import UserError

_LOGGER = logging.getLogger(__name__)

Precision = Literal["float32", "float16", "bfloat16"]
# What a store may hold; the names stand in configurations and files.
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
GIGABYTE = 10**9
_MEGABYTE = 10**6


def readable(size: int) -> str:
    """Give bytes as text in GB or MB, powers of ten."""
    value, unit = (size / GIGABYTE, "GB") if size >= GIGABYTE else (size / _MEGABYTE, "MB")
    return f"{float(f'{value:.3g}'):g} {unit}"


@dataclass(frozen=True)
class FeatureEntry:
    """The features of one window of an image.

    Attributes:
        tensors: As they are kept, on the CPU, without a batch dimension; each in order in memory.
        dtypes: Of the features as they were computed.
        channels_last: Whether a tensor is kept as (H, W, C), because it was computed in that memory format;
            operators round differently in different formats.
    """

    tensors: tuple[Tensor, ...]
    dtypes: tuple[torch.dtype, ...]
    channels_last: tuple[bool, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


class FeatureStore(ABC):
    """Keeps entries up to a number of bytes; where they do not fit, the least recently used ones go.

    Attributes:
        precision: Number format that entries are kept in.
        max_bytes: Most bytes of all entries together.
        hits: Entries that were there when they were asked for.
        misses: Entries that were not.
    """

    def __init__(self, *, max_gigabytes: float, precision: Precision) -> None:
        """Start empty.

        Args:
            max_gigabytes: Most that all entries take together, in 10^9 bytes.
            precision: Number format that entries are kept in.

        Raises:
            UserError: The limit is not positive.
        """
        if not (math.isfinite(max_gigabytes) and max_gigabytes > 0):
            raise UserError(f"feature_store.max_gigabytes: {max_gigabytes}; it must be positive.")
        self.precision = DTYPES[precision]
        self.max_bytes = int(max_gigabytes * GIGABYTE)
        self.hits = 0
        self.misses = 0
        self._expected_windows: int | None = None
        self._predicted_bytes = 0

    def expect(self, windows: int) -> None:
        """Say how many different windows will be asked for, so that the size can be told in advance."""
        self._expected_windows = windows

    def announce(self, what: str, entry_bytes: int) -> None:
        """Tell the user how large the store will be; called before the first entry of a kind is written.

        Args:
            what: The kind of entry, as the user reads it.
            entry_bytes: Bytes of one of them.

        Raises:
            UserError: There is no room for them.
        """
        if self._expected_windows is None:
            return
        kind_bytes = self._expected_windows * entry_bytes
        self._predicted_bytes += kind_bytes
        fits = self._predicted_bytes <= self.max_bytes
        _LOGGER.info(
            "feature store: %s of %d windows take %s in %s%s",
            what,
            self._expected_windows,
            readable(kind_bytes),
            self.where,
            ""
            if fits
            else f"; that is more than feature_store.max_gigabytes={self.max_bytes / GIGABYTE:g}, so the "
            "least recently used features are dropped and computed again",
        )
        self.check_room(min(self._predicted_bytes, self.max_bytes))

    def get(self, key: str) -> FeatureEntry | None:
        """Look an entry up and count whether it was there."""
        entry = self.read(key)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    @property
    @abstractmethod
    def where(self) -> str:
        """Where entries are kept, as the user reads it."""

    @property
    @abstractmethod
    def used_bytes(self) -> int:
        """Bytes that all entries take."""

    @abstractmethod
    def check_room(self, needed_bytes: int) -> None:
        """Check that this many bytes can be kept.

        Raises:
            UserError: They cannot.
        """

    @abstractmethod
    def read(self, key: str) -> FeatureEntry | None:
        """Look an entry up, and mark it as used now; None if it is not there."""

    @abstractmethod
    def write(self, key: str, entry: FeatureEntry) -> None:
        """Keep an entry, in place of the least recently used ones if there is no room."""
