"""Remembers which images are predicted, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from modise_lightning.atomic_files import write_bytes_atomically

_NAME = "predictions.jsonl"


@dataclass(frozen=True)
class FinishedImage:
    """What is known of an image whose files are written.

    Attributes:
        key: Hash of its content, the model, the settings and what it is called.
        height: Of the whole image, in pixels.
        width: Likewise.
        lesions: What was measured of each, with its mask.
        notes: What is to be told of the image.
        files: The bytes of each file that was written, by its path below the folder of the results.
    """

    key: str
    height: int
    width: int
    lesions: list[dict[str, Any]]
    notes: list[str]
    files: dict[str, int]

    def is_complete(self, folder: Path) -> bool:
        """Tell whether all files are there at their full size."""
        try:
            return all((folder / name).stat().st_size == size for name, size in self.files.items())
        except OSError:
            return False


def key_of(settings: Mapping[str, Any]) -> str:
    """Hash plain values; the same ones give the same key in every process."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class PredictionJournal:
    """A file with a line for each finished image, in the folder of the results; one for each process."""

    def __init__(self, folder: Path, process: int = 0) -> None:
        """Name the file.

        Args:
            folder: Of the results.
            process: Number of this process.
        """
        self._folder = folder
        self._path = folder / (_NAME if process == 0 else f"{process}.{_NAME}")
        self._lock = threading.Lock()

    def read(self, keys: Iterable[str]) -> dict[str, FinishedImage]:
        """Read what all processes finished of these keys; lines that were cut off or altered do not count."""
        wanted = set(keys)
        finished: dict[str, FinishedImage] = {}
        for path in sorted(self._folder.glob(f"*{_NAME}")):
            with path.open("rb") as file:
                for line in file:
                    checksum, _, document = line.rstrip(b"\n").partition(b" ")
                    if checksum != _checksum(document):
                        continue
                    try:
                        image = _FINISHED_IMAGE.validate_json(document, strict=True)
                    except ValueError:  # of another version
                        continue
                    if image.key in wanted:
                        finished[image.key] = image
        return finished

    def append(self, image: FinishedImage) -> None:
        """Add an image after its files were written."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(_to_line(image))

    def replace_all(self, images: Iterable[FinishedImage]) -> None:
        """Replace the files of all processes by one with these images in this order."""
        write_bytes_atomically(self._folder / _NAME, b"".join(map(_to_line, images)))
        for path in self._folder.glob(f"*.{_NAME}"):
            path.unlink()


def _to_line(image: FinishedImage) -> bytes:
    document = json.dumps(asdict(image), ensure_ascii=False).encode("utf-8", "backslashreplace")
    # The line break in front ends a line that an interruption cut off.
    return b"\n" + _checksum(document) + b" " + document + b"\n"


def _checksum(document: bytes) -> bytes:
    return b"%08x" % zlib.crc32(document)


_FINISHED_IMAGE = TypeAdapter(FinishedImage)
