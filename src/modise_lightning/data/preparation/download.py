"""Lists the files of a raw download, and says what is there when something is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from modise_lightning.data.images.system_files import is_of_the_system
from modise_lightning.errors import UserError


def list_download(raw: str | None, dataset: str, source: str) -> tuple[Path, list[Path]]:
    """List all files below the download's folder, also through links, the least nested ones first.

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
    return folder, sorted(_walk(folder), key=lambda path: (len(path.parts), path))


def _walk(folder: Path) -> Iterator[Path]:
    """Give the files below a folder; links are followed, and each folder is entered once."""
    entered: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        yield from (Path(parent) / name for name in names if not is_of_the_system(name))


def describe_files(files: Sequence[Path]) -> str:
    """Tell which kinds of file there are, the most frequent ones first."""
    counts = Counter(path.suffix.lower() for path in files)
    seen = ", ".join(f"{number} {suffix or 'without suffix'}" for suffix, number in counts.most_common(4))
    return seen or "no files"
