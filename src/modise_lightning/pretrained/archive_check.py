"""Checks the archive that ``torch.save`` writes before it is read."""

from __future__ import annotations

import zipfile
from pathlib import Path

from modise_lightning.errors import UserError


def check_archive(path: Path, setting: str) -> None:
    """Check that reading takes no more memory than the file has bytes: torch never compresses.

    Args:
        path: A regular file.
        setting: The setting that named it, for messages.

    Raises:
        UserError: It is not the archive that torch writes, or its entries would unfold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{setting}: '{path}' cannot be read safely: it is no checkpoint ({error})."
        ) from error
    size = path.stat().st_size
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or size < sum(
        entry.file_size for entry in entries
    ):
        raise UserError(
            f"{setting}: '{path}' cannot be read safely: its entries unfold to more than it holds."
        )
