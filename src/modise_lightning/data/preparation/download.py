"""Lists the files of a raw download, and says what is there when something is missing or there twice."""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from modise_lightning.data.images.system_files import is_of_the_system
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

Key = TypeVar("Key", bound=Hashable)


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


def only_file(folder: Path, candidates: Sequence[Path], what: str) -> Path | None:
    """Give the file that is meant; of copies with the same bytes the first.

    Args:
        folder: The download's folder.
        candidates: All files that could be meant.
        what: What the file is, for the message.

    Returns:
        The file; None if there is no candidate.

    Raises:
        UserError: Two candidates differ; names both.
    """
    for other in candidates[1:]:
        if not _are_equal(candidates[0], other):
            first, second = (path.relative_to(folder) for path in (candidates[0], other))
            raise UserError(
                f"data.raw: '{first}' and '{second}' in '{folder}' could both be {what}, and they differ. "
                "Move the one that is not meant out of the folder."
            )
    return candidates[0] if candidates else None


def only_files(folder: Path, candidates: Iterable[tuple[Key, Path]]) -> tuple[dict[Key, Path], list[str]]:
    """Give each image its file; of copies with the same bytes the first, of others none.

    Args:
        folder: The download's folder.
        candidates: Which image each file claims to be.

    Returns:
        The file of each image, and a sentence for each image that two different files claim to be.
    """
    files: dict[Key, Path] = {}
    problems: dict[Key, str] = {}
    for key, path in candidates:
        first = files.setdefault(key, path)
        if key not in problems and first is not path and not _are_equal(first, path):
            problems[key] = (
                f"{path.relative_to(folder)}: another image than {first.relative_to(folder)}, of the same "
                "name; both left out."
            )
    return {key: path for key, path in files.items() if key not in problems}, list(problems.values())


def _are_equal(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(check_regular(first), check_regular(second), shallow=False)
    except OSError:
        return False  # What cannot be read is no copy of anything.


def describe_files(files: Sequence[Path]) -> str:
    """Tell which kinds of file there are, the most frequent ones first."""
    counts = Counter(path.suffix.lower() for path in files)
    seen = ", ".join(f"{number} {suffix or 'without suffix'}" for suffix, number in counts.most_common(4))
    return seen or "no files"
