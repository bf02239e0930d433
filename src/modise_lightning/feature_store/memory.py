"""A feature store in the memory of a process."""

from __future__ import annotations

import os
from collections import OrderedDict

from modise_lightning.errors import UserError
from modise_lightning.feature_store.store import FeatureEntry, FeatureStore, Precision, readable


class MemoryFeatureStore(FeatureStore):
    """Keeps entries in the process's own memory until it ends."""

    def __init__(self, *, max_gigabytes: float, precision: Precision) -> None:
        """Start empty.

        Args:
            max_gigabytes: Most that all entries of a process take together, in 10^9 bytes.
            precision: Number format that entries are kept in.
        """
        super().__init__(max_gigabytes=max_gigabytes, precision=precision)
        self._entries: OrderedDict[str, FeatureEntry] = OrderedDict()  # the least recently used one first
        self._used_bytes = 0

    @property
    def where(self) -> str:
        """Where entries are kept, as the user reads it."""
        return "memory"

    @property
    def used_bytes(self) -> int:
        """Bytes that all entries take."""
        return self._used_bytes

    def check_room(self, needed_bytes: int) -> None:
        """Check that the machine has this much memory.

        Raises:
            UserError: It has not.
        """
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed_bytes > installed:
            raise UserError(
                f"feature_store: {readable(needed_bytes)} do not fit into this machine's "
                f"{readable(installed)} of memory. Use feature_store=disk, or a lower "
                "feature_store.max_gigabytes."
            )

    def read(self, key: str) -> FeatureEntry | None:
        """Look an entry up, and mark it as used now; None if it is not there."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def write(self, key: str, entry: FeatureEntry) -> None:
        """Keep an entry, in place of the least recently used ones if there is no room."""
        if entry.size > self.max_bytes:
            return
        if key in self._entries:
            self._used_bytes -= self._entries.pop(key).size
        while self._used_bytes + entry.size > self.max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._used_bytes -= dropped.size
        self._entries[key] = entry
        self._used_bytes += entry.size
