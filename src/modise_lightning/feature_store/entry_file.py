"""Reads and writes an entry of a feature store as a safetensors file that says whether it is whole."""

from __future__ import annotations

import zlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from modise_lightning.feature_store.store import DTYPES, FeatureEntry

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class DamagedEntryError(Exception):
    """A file is not the whole entry that was written."""


def encode_entry(key: str, entry: FeatureEntry) -> bytes:
    """Give the bytes of a file that holds an entry."""
    tensors = {str(index): tensor.contiguous() for index, tensor in enumerate(entry.tensors)}
    metadata = {
        "key": key,
        "dtypes": ",".join(_NAMES[dtype] for dtype in entry.dtypes),
        "checksum": _checksum(entry.tensors),
    }
    return safetensors.torch.save(tensors, metadata=metadata)


def read_entry(path: Path, key: str) -> FeatureEntry | None:
    """Read a file.

    Args:
        path: Of the file.
        key: Of the entry that it should hold.

    Returns:
        The entry; its tensors are views of the file. None if there is no file.

    Raises:
        DamagedEntryError: The file is cut off or changed, or is another entry's.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = sorted(file.keys(), key=lambda name: name.zfill(8))
            tensors = tuple(file.get_tensor(name) for name in names)
    except FileNotFoundError:
        return None
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedEntryError(str(error)) from error
    dtypes = tuple(DTYPES.get(name) for name in metadata.get("dtypes", "").split(","))
    if metadata.get("key") != key or metadata.get("checksum") != _checksum(tensors):
        raise DamagedEntryError("its checksum is wrong")
    whole = tuple(dtype for dtype in dtypes if dtype is not None)
    if not len(whole) == len(dtypes) == len(tensors):
        raise DamagedEntryError("its description is wrong")
    return FeatureEntry(tensors, whole)


def _checksum(tensors: tuple[Tensor, ...]) -> str:
    """Sum up shapes, types and bytes, which a disk or an interrupted write may have changed."""
    total = 0
    for tensor in tensors:
        total = zlib.crc32(f"{tuple(tensor.shape)}|{tensor.dtype}".encode(), total)
        total = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
