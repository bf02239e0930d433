"""Images in ZIP archives: everything is checked before a member is read, and nothing is unpacked to disk."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modise_lightning.data.images.image_file import FileInMemory
from modise_lightning.data.images.system_files import is_of_the_system
from modise_lightning.errors import UserError
from modise_lightning.visible_text import visible

_PIECE_BYTES = 2**20
_TAIL_BYTES = 2**16 + 22  # the record at the end of an archive, and the longest comment behind it
_END, _END_64_LOCATOR, _END_64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_DIRECTORY_BYTES_PER_MEMBER = 1024  # of the table of contents; names have a few hundred at most
_ENCRYPTED = 0x1  # flag bit
# bzip2 and LZMA are decoded without a limit by the library, and viewers' exports do not use them.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LONGEST_NAME = 1000  # characters


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold at most.

    Attributes:
        members: Files and folders.
        member_bytes: Of a member, unpacked.
        total_bytes: Of all members, unpacked.
    """

    members: int
    member_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class ArchiveContent:
    """What can be read of an archive.

    Attributes:
        names: Members that are neither folders nor left by the system, in order.
        refused: Why others are not read, a line each.
    """

    names: list[str]
    refused: list[str]


def is_archive(path: Path) -> bool:
    """Tell ZIP by its suffix."""
    return path.suffix.lower() == ".zip"


def list_archive(path: Path, limits: ArchiveLimits) -> ArchiveContent:
    """List what an archive holds, after its number of members, their sizes and their paths were checked.

    Raises:
        UserError: It is no ZIP, encrypted, has too many or too large members, or a member that would lie
            outside of a folder that it is unpacked in.
    """
    try:
        _check_table_of_contents(path, limits)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except UserError:
        raise
    except Exception as error:  # A damaged archive makes zipfile raise almost anything.
        raise UserError(f"'{path}' is not a readable ZIP archive ({error}).") from error
    if len(infos) > limits.members:
        raise UserError(f"'{path}' has {len(infos)} members, more than {limits.members}.")
    for info in infos:
        _check_member(path, info)
    twice = [name for name, number in Counter(info.filename for info in infos).items() if number > 1]
    if twice:
        raise UserError(f"'{path}' holds '{visible(twice[0])}' twice.")
    total = sum(info.file_size for info in infos)
    if total > limits.total_bytes:
        raise UserError(f"'{path}' unpacks to {total} bytes, more than {limits.total_bytes}.")
    names, refused = [], []
    for info in infos:
        where, own = f"'{path}:{visible(info.filename)}'", PurePosixPath(info.filename).name
        if info.is_dir() or is_of_the_system(own) or info.filename.startswith("__MACOSX/"):
            continue
        if is_archive(Path(own)):
            refused.append(f"{where} is an archive in an archive; unpack the outer one.")
        elif info.file_size > limits.member_bytes:
            refused.append(f"{where} unpacks to {info.file_size} bytes, more than {limits.member_bytes}.")
        else:
            names.append(info.filename)
    return ArchiveContent(sorted(names), refused)


def _check_table_of_contents(path: Path, limits: ArchiveLimits) -> None:
    """Check the number of members that the archive declares, before the library reads its whole table."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(_END)
        if end < 0 or len(tail) < end + 22:
            raise UserError(f"'{path}' is not a readable ZIP archive (it has no end, or is no ZIP).")
        number = int.from_bytes(tail[end + 10 : end + 12], "little")
        table = int.from_bytes(tail[end + 12 : end + 16], "little")
        locator = tail[max(0, end - 20) : end]
        if locator.startswith(_END_64_LOCATOR):
            file.seek(int.from_bytes(locator[8:16], "little"))
            record = file.read(56)
            if not record.startswith(_END_64):
                raise UserError(f"'{path}' is not a readable ZIP archive (its end is damaged).")
            number = int.from_bytes(record[32:40], "little")
            table = int.from_bytes(record[40:48], "little")
    if number > limits.members:
        raise UserError(f"'{path}' has {number} members, more than {limits.members}.")
    if table > _DIRECTORY_BYTES_PER_MEMBER * limits.members:
        raise UserError(f"'{path}' has a table of contents of {table} bytes, which no such archive needs.")


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    where = f"'{path}:{visible(name[:_LONGEST_NAME])}'"
    # zipfile ends names at NUL and turns backslashes into slashes on Windows; the name as stored counts.
    stored = info.orig_filename
    parts = PurePosixPath(stored).parts
    is_outside = stored.startswith("/") or ".." in parts or "\\" in stored or ":" in (parts or ("",))[0]
    if is_outside or not parts or len(stored) > _LONGEST_NAME or "\0" in stored:
        raise UserError(f"{where} would lie outside of the archive's folder, or has no usable name.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UserError(f"{where} is a link, which archives of images do not hold.")
    if info.flag_bits & _ENCRYPTED:
        raise UserError(f"{where} is encrypted; unpack it with its password first.")
    if not info.is_dir() and info.compress_type not in _METHODS:
        raise UserError(f"{where} is compressed by method {info.compress_type}; stored or deflated is read.")


def read_member(path: Path, name: str, limits: ArchiveLimits, at_most: int | None = None) -> FileInMemory:
    """Read a member into memory.

    Args:
        path: The archive.
        name: One of those that ``list_archive`` gave.
        limits: No more than ``member_bytes`` are unpacked, whatever is declared.
        at_most: Bytes of its beginning; None: all.

    Raises:
        UserError: It is damaged, or not as large as the archive declares.
    """
    shown = f"{path}:{visible(name)}"
    wanted = limits.member_bytes if at_most is None else at_most
    pieces, size = [], 0
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            declared = archive.getinfo(name).file_size
            while size <= wanted and (piece := member.read(min(_PIECE_BYTES, wanted + 1 - size))):
                pieces.append(piece)
                size += len(piece)
    except Exception as error:  # A damaged archive makes zipfile and zlib raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{shown}' cannot be read from its archive ({reason}).") from error
    if at_most is None and (size > limits.member_bytes or size != declared):
        raise UserError(f"'{shown}' does not unpack to the {declared} bytes that its archive declares.")
    return FileInMemory(shown, b"".join(pieces)[:wanted])
