"""What images are read from, a path or bytes in memory, and what a user may say of their pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, Protocol


class ImageFile(Protocol):
    """A file that an image is read from: a ``Path`` or a ``FileInMemory``.

    Its text is what messages call it.
    """

    @property
    def suffix(self) -> str:
        """The end of its name, with the dot; empty where there is none."""

    def is_file(self) -> bool:
        """Tell whether it is there."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it anew, from its beginning."""


@dataclass(frozen=True)
class FileInMemory:
    """The bytes of a file, of an archive's member say, with the name that messages give it.

    Attributes:
        name: Where it is from.
        content: All of it.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        """Give the name."""
        return self.name

    @property
    def suffix(self) -> str:
        """The end of its name, with the dot; empty where there is none."""
        return PurePosixPath(self.name).suffix

    def is_file(self) -> bool:
        """It is there."""
        return True

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it anew, from its beginning."""
        return io.BytesIO(self.content)


@dataclass(frozen=True)
class PixelSettings:
    """What is done where a file does not say enough, or holds more or something else than one picture.

    Attributes:
        white: The value that is white in 16-bit PNG and TIFF that say nothing of it; None: 65535, and nearly
            black pictures are told.
        for_processing: Of DICOM's raw detector values: ``warn`` takes them as they are, ``refuse`` names
            them, ``convert`` makes the more attenuating tissue brighter, as far as the file says how.
        frame: Which frame of a DICOM file of several is read, from 1; None refuses such files.
    """

    white: int | None = None
    for_processing: Literal["warn", "refuse", "convert"] = "warn"
    frame: int | None = None


DEFAULT_PIXELS = PixelSettings()
