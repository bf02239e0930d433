"""One small file a model and fold: results, records by image, and what the training took."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from peer_parts.peer_process import COST

_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


def result_path(folder: Path, model: str, fold: int) -> Path:
    """Name the file of a model and fold."""
    return folder / f"{model}_fold{fold}.zip"


def pack_result(path: Path, run: Path, cost: Path) -> None:
    """Write the file, which is either whole or not there.

    Args:
        path: To write.
        run: Folder with ``results.json`` and ``records/``.
        cost: File of what the training took.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    files = [run / "results.json", *sorted((run / "records" / "trained").glob("*.csv"))]
    with zipfile.ZipFile(half, "w", zipfile.ZIP_LZMA) as archive:
        for name, file in [(COST, cost), *((str(file.relative_to(run)), file) for file in files)]:
            entry = zipfile.ZipInfo(name, _FIXED_TIME)
            entry.compress_type = zipfile.ZIP_LZMA
            archive.writestr(entry, file.read_bytes())
    os.replace(half, path)


def read_cost(path: Path) -> dict[str, Any]:
    """Read what the training of a result took."""
    with zipfile.ZipFile(path) as archive:
        content: dict[str, Any] = json.loads(archive.read(COST))
    return content


def unpack_result(path: Path, folder: Path) -> None:
    """Write results and records into a folder, as a run of the library leaves them."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
