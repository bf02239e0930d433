"""The images that a DICOMDIR lists: the table of contents of a disc or of an export (DICOM PS3.10, 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
from pydicom.multival import MultiValue

from modise_lightning.errors import UserError
from modise_lightning.regular_files import is_file
from modise_lightning.visible_text import visible

# MediaStorageSOPClassUID (0002,0002) of Media Storage Directory Storage, as it is stored.
_ELEMENT = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
_BEGINNING_BYTES = 1024
_LARGEST_BYTES = 256 * 2**20


def begins_as_dicomdir(beginning: bytes) -> bool:
    """Tell a DICOMDIR by its first kilobyte, whatever its name."""
    return beginning[128:132] == b"DICM" and _ELEMENT in beginning[:_BEGINNING_BYTES]


def is_dicomdir(path: Path) -> bool:
    """Tell a DICOMDIR by its content.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return begins_as_dicomdir(file.read(_BEGINNING_BYTES))


def list_dicomdir(path: Path) -> tuple[list[Path], list[str]]:
    """List the images of a DICOMDIR.

    Returns:
        The files that are there, in its order, and for each other image why it is not read.

    Raises:
        UserError: It cannot be read, or lists no image.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"'{path}' is larger than {_LARGEST_BYTES} bytes, which no DICOMDIR needs.")
        with path.open("rb") as file:
            records = pydicom.dcmread(file).get("DirectoryRecordSequence") or ()
        named = [_parts(record.get("ReferencedFileID")) for record in records if _is_image(record)]
    except UserError:
        raise
    except Exception as error:  # Damaged files make pydicom raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable DICOMDIR ({reason}).") from error
    if not named:
        raise UserError(f"'{path}' lists no image.")
    found: dict[Path, None] = {}
    refused = []
    for parts in named:
        shown = visible("/".join(parts))
        if not parts or any(part in ("", ".", "..") or set(part) & set("/\\:\0") for part in parts):
            refused.append(f"'{path}' lists '{shown}', which is no file below its folder.")
            continue
        file_path = path.parent.joinpath(*parts)
        if not is_file(file_path):
            # Discs are often copied with names in small letters.
            file_path = path.parent.joinpath(*(part.lower() for part in parts))
        if is_file(file_path):
            found[file_path] = None
        else:
            refused.append(f"'{path}' lists '{shown}', which is not there.")
    return list(found), refused


def _is_image(record: Any) -> bool:  # noqa: ANN401 (a pydicom data set)
    return str(record.get("DirectoryRecordType", "")).strip().upper() == "IMAGE"


def _parts(value: object) -> list[str]:
    if value is None or value == "":
        return []
    return [str(part) for part in value] if isinstance(value, MultiValue) else [str(value)]
