"""Remembers which images of a prepared dataset are finished, so that an interrupted preparation goes on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.data.prepared.writing import (
    FOLDS_NAME,
    IMAGE_FOLDER,
    INDEX_NAME,
    PANOPTIC_FOLDER,
    PreparedEntry,
)

JOURNAL_NAME = "preparation.jsonl"


@dataclass(frozen=True)
class FinishedImage:
    """What is known of an image whose PNG pair is written.

    Attributes:
        key: Hash of everything that the pair was made from.
        entry: Its part of the index.
        file_sizes: Bytes of its image and of its id map.
        hidden: For each region that smaller ones cover in part, pixels it had, pixels that are left, and its
            row in the annotation file.
        problems: What is wrong with it, a sentence each.
        notes: What else is to be told of it.
        counts: How often what was done to it, for the report's sums.
    """

    key: str
    entry: PreparedEntry
    file_sizes: tuple[int, int]
    hidden: list[dict[str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def is_complete(self, root: Path) -> bool:
        """Tell whether both files are there at their full size."""
        try:
            return png_sizes(root, self.entry.record.file_name) == self.file_sizes
        except FileNotFoundError:
            return False


def png_sizes(root: Path, file_name: str) -> tuple[int, int]:
    """Give the bytes of an image and of its id map.

    Raises:
        FileNotFoundError: One is missing.
    """
    image, id_map = ((root / folder / file_name).stat().st_size for folder in (IMAGE_FOLDER, PANOPTIC_FOLDER))
    return image, id_map


class PreparationJournal:
    """A file with a line for each finished image, in the folder of the dataset."""

    def __init__(self, root: Path) -> None:
        """Name the file.

        Args:
            root: The dataset's folder.
        """
        self.path = root / JOURNAL_NAME

    def read(self) -> dict[str, FinishedImage]:
        """Read what is finished, by file name; lines that were cut off or altered do not count."""
        if not self.path.is_file():
            return {}
        finished = {}
        for line in self.path.read_bytes().split(b"\n"):
            checksum, _, document = line.partition(b" ")
            if checksum != _checksum(document):
                continue
            try:
                image = _FINISHED_IMAGE.validate_json(document, strict=True)
            except ValueError:  # of another version
                continue
            finished[image.entry.record.file_name] = image
        return finished

    def append(self, image: FinishedImage) -> None:
        """Add an image after its files were written."""
        with self.path.open("ab") as file:
            file.write(_to_line(image))

    def write(self, images: Iterable[FinishedImage]) -> None:
        """Replace the file by these images in this order."""
        write_bytes_atomically(self.path, b"".join(map(_to_line, images)))


def remove_unfinished_files(root: Path, finished: Collection[str]) -> None:
    """Remove from a prepared dataset what an interruption left half-written, and images of other settings.

    Args:
        root: The dataset's folder.
        finished: File names to keep in the folders of the images and of the id maps.
    """
    for folder in (IMAGE_FOLDER, PANOPTIC_FOLDER):
        if (root / folder).is_dir():
            for path in (root / folder).iterdir():
                if path.name not in finished:
                    path.unlink()
    for name in (INDEX_NAME, FOLDS_NAME, JOURNAL_NAME):
        for path in root.glob(f".{name}.*"):
            path.unlink()


def _to_line(image: FinishedImage) -> bytes:
    """Write the checksum of a JSON document and the document."""
    document = json.dumps(asdict(image), ensure_ascii=False).encode()
    # The line break in front ends a line that an interruption cut off.
    return b"\n" + _checksum(document) + b" " + document


def _checksum(document: bytes) -> bytes:
    return b"%08x" % zlib.crc32(document)


_FINISHED_IMAGE = TypeAdapter(FinishedImage)
