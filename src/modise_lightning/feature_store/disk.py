"""A feature store in a folder, which processes and runs share."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from pathlib import Path

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.errors import UserError
from modise_lightning.feature_store.entry_file import DamagedEntryError, encode_entry, read_entry
from modise_lightning.feature_store.store import FeatureEntry, FeatureStore, Precision, readable

_LOGGER = logging.getLogger(__name__)
_SUFFIX = ".features"
# A file under a temporary name that is older was left by a process that was ended while it wrote.
_ABANDONED_SECONDS = 3600.0
# The folder is looked at again when this share of the room that was left may be filled. So many processes may
# write at the same time before the limit is passed, by one entry each.
_SHARE_BETWEEN_LOOKS = 1 / 64


class DiskFeatureStore(FeatureStore):
    """Keeps entries as files, each written under a temporary name and renamed; their times say their use.

    Any number of processes may read and write at the same time: a reader sees a whole file or none, and a
    file that another process drops stays readable for those that have opened it.
    """

    def __init__(self, *, folder: str, max_gigabytes: float, precision: Precision) -> None:
        """Open or make the folder.

        Args:
            folder: Where the files are; of nothing else.
            max_gigabytes: Most that all files take together, in 10^9 bytes.
            precision: Number format that entries are kept in.

        Raises:
            UserError: The folder cannot be written to.
        """
        super().__init__(max_gigabytes=max_gigabytes, precision=precision)
        self.folder = Path(os.path.expanduser(folder))  # unlike pathlib's, leaves ~nobody as it is
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"feature_store.folder: '{folder}' cannot be made ({error.strerror}).") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise UserError(f"feature_store.folder: '{folder}' cannot be written to.")
        self._writable = True
        self._bytes_at_last_look = self.used_bytes
        self._bytes_written_since = 0

    @property
    def where(self) -> str:
        """Where entries are kept, as the user reads it."""
        return str(self.folder)

    @property
    def used_bytes(self) -> int:
        """Bytes that all entries take, those of other processes and runs too."""
        return sum(size for _, size, _ in self._files())

    def check_room(self, needed_bytes: int) -> None:
        """Check that the disk has this much room, what is here already included.

        Raises:
            UserError: It has not.
        """
        free = shutil.disk_usage(self.folder).free
        missing = needed_bytes - self.used_bytes
        if missing > free:
            raise UserError(
                f"feature_store.folder: '{self.folder}' has {readable(free)} free, "
                f"{readable(missing)} are needed. Give another folder, or a lower "
                "feature_store.max_gigabytes (the least recently used features are then computed again)."
            )

    def read(self, key: str) -> FeatureEntry | None:
        """Look an entry up, and mark it as used now; None if it is not there or is damaged."""
        path = self._path(key)
        try:
            entry = read_entry(path, key)
        except DamagedEntryError as error:
            warnings.warn(
                f"feature store: {path} is damaged ({error}); its features are computed again.", stacklevel=2
            )
            path.unlink(missing_ok=True)
            return None
        if entry is not None:
            self._mark_as_used(path)
        return entry

    def write(self, key: str, entry: FeatureEntry) -> None:
        """Keep an entry, in place of the least recently used ones if there is no room."""
        data = encode_entry(key, entry)
        if len(data) > self.max_bytes or not self._writable:
            return
        try:
            self._make_room(len(data))
            write_bytes_atomically(self._path(key), data)
        except OSError as error:
            # Features can be computed without a store, so a full disk does not end a training of days.
            self._writable = False
            warnings.warn(
                f"feature store: cannot write to {self.folder} ({error.strerror}); features that are not "
                "there already are computed each time from now on.",
                stacklevel=2,
            )
            return
        self._bytes_written_since += len(data)

    def _make_room(self, needed: int) -> None:
        left = self.max_bytes - self._bytes_at_last_look
        if self._bytes_written_since + needed <= left * _SHARE_BETWEEN_LOOKS:
            return
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + needed <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._bytes_at_last_look, self._bytes_written_since = total, 0

    def _files(self) -> list[tuple[float, int, Path]]:
        """List (time of last use, bytes, path) of all entries; drop what ended processes left behind."""
        found = []
        with os.scandir(self.folder) as files:
            for file in files:
                if _SUFFIX not in file.name:
                    continue
                try:
                    status = file.stat()
                except FileNotFoundError:  # Another process dropped it.
                    continue
                if file.name.endswith(_SUFFIX):
                    found.append((status.st_mtime, status.st_size, Path(file.path)))
                elif time.time() - status.st_mtime > _ABANDONED_SECONDS:
                    Path(file.path).unlink(missing_ok=True)
        return found

    def _mark_as_used(self, path: Path) -> None:
        try:
            os.utime(path)
        except FileNotFoundError:
            _LOGGER.debug("%s was dropped by another process while it was read", path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"
