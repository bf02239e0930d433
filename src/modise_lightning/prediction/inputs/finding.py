"""Finds the images that a user names: files, folders, patterns, DICOMDIR and ZIP archives."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from modise_lightning.data.images.image_file import ImageFile
from modise_lightning.data.images.reading import IMAGE_SUFFIXES, PICTURE_SUFFIXES
from modise_lightning.data.images.system_files import is_of_the_system
from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.archive import ArchiveLimits, is_archive, list_archive, read_member
from modise_lightning.prediction.inputs.dicomdir import begins_as_dicomdir, is_dicomdir, list_dicomdir

_KINDS = f"{', '.join(IMAGE_SUFFIXES)}, .zip, DICOMDIR"
_BEGINNING_BYTES = 1024  # of a file, to tell DICOM and DICOMDIR by


@dataclass(frozen=True)
class InputImage:
    """An image that is to be predicted.

    Attributes:
        path: The file, or the archive that holds it.
        parts: Folders below the input and the name, which results are called after.
        member: Its name in the archive; None for a file.
    """

    path: Path
    parts: tuple[str, ...]
    member: str | None = None

    def __str__(self) -> str:
        """Give what messages call it."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    def file(self, limits: ArchiveLimits) -> ImageFile:
        """Give what it is read from; a member of an archive is read into memory.

        Raises:
            UserError: The member is damaged, or not as large as the archive declares.
        """
        return self.path if self.member is None else read_member(self.path, self.member, limits)


@dataclass
class FoundImages:
    """What was found.

    Attributes:
        images: Each file once, in the order of the inputs and then of the paths.
        refused: Why others cannot be read, a line each.
    """

    images: list[InputImage] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def find_inputs(
    inputs: Sequence[str], *, recursive: bool, limits: ArchiveLimits, leave_out: Path | None = None
) -> FoundImages:
    """Find the images that the inputs name.

    Args:
        inputs: Files, folders, patterns (``*``, ``?``, ``[...]``, ``**``), DICOMDIR or ZIP archives.
        recursive: Whether folders are searched with those below them.
        limits: Of archives.
        leave_out: A folder that is not searched: where the results go.

    Raises:
        UserError: An input names nothing, or nothing that is an image.
    """
    found = FoundImages()
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            _find_in_folder(path, found, recursive, limits, leave_out)
        elif path.is_file():
            if not _take_file(path, (path.name,), found, limits, is_named=True):
                raise UserError(f"input: '{path}' is not an image that can be read ({_KINDS}).")
        elif glob.has_magic(name):
            _find_by_pattern(name, found, recursive, limits, leave_out)
        else:
            raise UserError(f"input: no file or folder '{path}'.")
    unique = {(image.path, image.member): image for image in found.images}
    found.images = list(unique.values())
    return found


def _find_in_folder(
    folder: Path, found: FoundImages, recursive: bool, limits: ArchiveLimits, leave_out: Path | None
) -> None:
    before = len(found.images), len(found.refused)
    for path in _walk(folder, recursive, leave_out):
        _take_file(path, path.relative_to(folder).parts, found, limits, is_named=False)
    if (len(found.images), len(found.refused)) == before:
        raise UserError(f"input: the folder '{folder}' holds no image ({_KINDS}).")


def _find_by_pattern(
    pattern: str, found: FoundImages, recursive: bool, limits: ArchiveLimits, leave_out: Path | None
) -> None:
    before = len(found.images), len(found.refused)
    # The folders before the first one with a sign of a pattern; results lie as the files do below them.
    base = Path(*_until_magic(Path(pattern).parts))
    for name in sorted(glob.glob(pattern, recursive=True)):
        path = Path(name)
        inside = (path,) if path.is_file() else _walk(path, recursive, leave_out)
        for each in inside:
            parts = each.relative_to(base).parts if each.is_relative_to(base) else (each.name,)
            _take_file(each, parts, found, limits, is_named=False)
    if (len(found.images), len(found.refused)) == before:
        raise UserError(f"input: nothing that is an image is called '{pattern}' ({_KINDS}).")


def _until_magic(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _walk(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[Path]:
    """Give the files of a folder in order, without following links to folders."""
    left_out = None if leave_out is None else leave_out.resolve()
    files = []
    for name, folders, names in os.walk(folder):
        if left_out is not None and Path(name).resolve() == left_out:
            folders.clear()
            continue
        files += [Path(name, own) for own in names]
        if not recursive:
            break
    yield from sorted(files)


def _take_file(
    path: Path, parts: tuple[str, ...], found: FoundImages, limits: ArchiveLimits, *, is_named: bool
) -> bool:
    """Add what a file is or holds; tell whether it is an image, an archive or a DICOMDIR."""
    if is_of_the_system(path.name) or not path.is_file():
        return False
    if is_archive(path):
        _take_archive(path, parts, found, limits)
        return True
    if path.suffix.lower() in PICTURE_SUFFIXES:
        found.images.append(InputImage(path, parts))
        return True
    try:
        if is_dicomdir(path):
            if is_named:  # In a folder its images are found as files.
                listed, refused = list_dicomdir(path)
                found.refused += refused
                found.images += [InputImage(file, file.relative_to(path.parent).parts) for file in listed]
            return True
        with path.open("rb") as file:
            is_image = file.read(_BEGINNING_BYTES)[128:132] == b"DICM"
    except OSError:  # What cannot be read and is not called an image is not taken for one.
        is_image = False
    if is_image or path.suffix.lower() in IMAGE_SUFFIXES:
        found.images.append(InputImage(path, parts))
        return True
    return False


def _take_archive(path: Path, parts: tuple[str, ...], found: FoundImages, limits: ArchiveLimits) -> None:
    try:
        content = list_archive(path, limits)
    except UserError as error:
        found.refused.append(str(error))
        return
    found.refused += content.refused
    number = 0
    for name in content.names:
        if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            try:
                beginning = read_member(path, name, limits, _BEGINNING_BYTES).content
            except UserError as error:
                found.refused.append(str(error))
                continue
            if beginning[128:132] != b"DICM" or begins_as_dicomdir(beginning):
                continue
        number += 1
        inside = PurePosixPath(name).parts
        found.images.append(InputImage(path, (*parts[:-1], path.stem, *inside), name))
    if not number and not content.refused:
        found.refused.append(f"'{path}' holds no image.")
