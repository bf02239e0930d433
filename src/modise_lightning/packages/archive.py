"""The ZIP file of a package: a few known names, never compressed, each checked before it is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.archive import ArchiveLimits, list_archive
from modise_lightning.regular_files import check_regular

MANIFEST, WEIGHTS, CONFIG = "manifest.json", "weights.safetensors", "config.yaml"
SETTINGS, EVALUATION, CARD = "settings.yaml", "evaluation.json", "README.md"
_REQUIRED = (MANIFEST, WEIGHTS, CONFIG)
# Every name that a package may have, with the most bytes. The largest network here has 1 GB of weights.
MAXIMUM_BYTES = {
    MANIFEST: 2**20,
    CONFIG: 4 * 2**20,
    SETTINGS: 2**20,
    EVALUATION: 16 * 2**20,
    CARD: 4 * 2**20,
    WEIGHTS: 16 * 2**30,
}
_LIMITS = ArchiveLimits(len(MAXIMUM_BYTES), max(MAXIMUM_BYTES.values()), 2 * max(MAXIMUM_BYTES.values()))
# The beginning of a local file header up to the name, as PKWARE's APPNOTE 4.3.7 says.
_HEADER, _HEADER_BYTES = b"PK\x03\x04", 30


def is_package(path: Path) -> bool:
    """Tell a package from a checkpoint, which is a ZIP file too: by its suffix or its first member."""
    if path.suffix.lower() == ".zip":
        return True
    try:
        with check_regular(path).open("rb") as file:
            beginning = file.read(_HEADER_BYTES + len(MANIFEST))
    except OSError:
        return False  # whoever reads it as a checkpoint says why
    return beginning.startswith(_HEADER) and beginning[_HEADER_BYTES:] == MANIFEST.encode()


def write_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a package's file; the same members give the same bytes.

    Args:
        path: Replaced whole, or not at all.
        members: By name; the manifest first.

    Raises:
        ValueError: A name is unknown or required and missing, or a member is larger than it is read.
    """
    unknown = [name for name in members if name not in MAXIMUM_BYTES]
    large = [name for name, data in members.items() if len(data) > MAXIMUM_BYTES.get(name, 0)]
    if unknown or large or next(iter(members), None) != MANIFEST or not set(_REQUIRED) <= members.keys():
        raise ValueError(f"members {list(members)}: unknown {unknown}, too large {large}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980: no time goes into it
    write_bytes_atomically(path, buffer.getbuffer())


def read_members(path: Path, setting: str) -> dict[str, bytes]:
    """Read a package's file into memory, which takes no more than the file has bytes.

    Args:
        path: The file.
        setting: The setting that named it, for messages.

    Raises:
        UserError: It is no package: names the first thing that is wrong. Nothing of it was written anywhere.
    """
    try:
        size = check_regular(path).stat().st_size
        list_archive(path, _LIMITS)  # declared number, sizes, paths, links, encryption, names twice
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check(path, setting, infos, size)
            return {info.filename: archive.read(info) for info in infos}
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(setting) else f"{setting}: {error}") from error
    except OSError as error:
        raise UserError(f"{setting}: '{path}' cannot be read ({error.strerror or error}).") from error
    except Exception as error:  # A damaged archive makes zipfile raise almost anything.
        raise UserError(f"{setting}: '{path}' is damaged ({' '.join(str(error).split())[:200]}).") from error


def _check(path: Path, setting: str, infos: list[zipfile.ZipInfo], size: int) -> None:
    for info in infos:
        name = info.orig_filename
        if name not in MAXIMUM_BYTES:
            raise UserError(
                f"{setting}: '{path}' holds '{name[:100]}', which no package of a model does; it may hold "
                f"{', '.join(MAXIMUM_BYTES)}. `python -m modise_lightning.package` makes packages."
            )
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UserError(f"{setting}: '{path}': {name} is compressed, which nothing in a package is.")
        if info.file_size > MAXIMUM_BYTES[name]:
            raise UserError(
                f"{setting}: '{path}': {name} has {info.file_size} bytes, more than {MAXIMUM_BYTES[name]}."
            )
    missing = [name for name in _REQUIRED if name not in {info.filename for info in infos}]
    if missing:
        raise UserError(f"{setting}: '{path}' is no package of a model: it holds no {missing[0]}.")
    # Members that overlap would be read several times.
    if sum(info.file_size for info in infos) > size:
        raise UserError(f"{setting}: '{path}': its members unfold to more than it holds.")
