"""Reads and writes an entry of a feature store: a safetensors file, then the checksum of its bytes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import safetensors
import safetensors.torch

from modise_lightning.feature_store.store import DTYPES, FeatureEntry
from modise_lightning.regular_files import check_regular

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CHECKSUM_BYTES = 4
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header


class DamagedEntryError(Exception):
    """A file is not the whole entry that was written."""


def encode_entry(key: str, entry: FeatureEntry) -> bytes:
    """Give the bytes of a file that holds an entry."""
    tensors = {str(index): tensor for index, tensor in enumerate(entry.tensors)}
    description = {
        "key": key,
        "dtypes": json.dumps([_NAMES[dtype] for dtype in entry.dtypes]),
        "channels_last": json.dumps(entry.channels_last),
    }
    data = safetensors.torch.save(tensors, metadata=description)
    return data + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def read_entry(path: Path, key: str) -> FeatureEntry | None:
    """Read a file.

    Args:
        path: Of the file.
        key: Of the entry that it should hold.

    Returns:
        The entry; None if there is no file.

    Raises:
        DamagedEntryError: The file is cut off or changed, or is another entry's.
    """
    try:
        content = check_regular(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedEntryError(str(error)) from error
    data, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if zlib.crc32(data) != int.from_bytes(checksum, "little"):
        raise DamagedEntryError("its checksum is wrong")
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        description = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"]
        entry = FeatureEntry(
            tuple(tensors[str(index)] for index in range(len(tensors))),
            tuple(DTYPES[name] for name in json.loads(description["dtypes"])),
            tuple(bool(last) for last in json.loads(description["channels_last"])),
        )
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise DamagedEntryError(f"it is no entry: {error}") from error
    if (
        not tensors
        or description.get("key") != key
        or not len(tensors) == len(entry.dtypes) == len(entry.channels_last)
    ):
        raise DamagedEntryError("it is another entry's")
    return entry
