"""Writes files under a temporary name first, so that no reader ever sees half of one."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from pathlib import Path


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file in UTF-8; its folder is made if it is missing.

    Halves of characters, as names that are no UTF-8 and escapes in YAML give, are spelled out.
    """
    write_bytes_atomically(path, text.encode("utf-8", "backslashreplace"))


def remove_unfinished_writes(path: Path) -> None:
    """Remove what a killed process left of writing a file; only where no other process writes it."""
    for found in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)
