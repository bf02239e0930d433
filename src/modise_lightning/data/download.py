"""Lists the files of a raw download, and says what is there when something is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from modise_lightning.errors import UserError


def list_download(raw: str | None, dataset: str, source: str) -> tuple[Path, list[Path]]:
    """List all files below the download's folder, the least nested ones first.

    Args:
        raw: The download's folder, as configured.
        dataset: The dataset's name in messages.
        source: Where to download it.

    Returns:
        The folder and its files.

    Raises:
        UserError: The folder is not given or not there.
    """
    if not raw:
        raise UserError(
            f"data.raw: not set. Download {dataset} ({source}) and give its folder: data.raw=FOLDER."
        )
    folder = Path(raw)
    if not folder.is_dir():
        raise UserError(
            f"data.raw: no folder '{folder}'. Give the folder of the {dataset} download ({source})."
        )
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return folder, sorted(files, key=lambda path: (len(path.parts), path))


def describe_files(files: Sequence[Path]) -> str:
    """Tell which kinds of file there are, the most frequent ones first."""
    counts = Counter(path.suffix.lower() for path in files)
    seen = ", ".join(f"{number} {suffix or 'without suffix'}" for suffix, number in counts.most_common(4))
    return seen or "no files"
