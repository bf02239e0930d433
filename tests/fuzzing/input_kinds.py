"""What holds or lists images: ZIP archives and DICOMDIR."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from pydicom.data import get_testdata_file

from fuzzing.kinds import InsaneResultError, Kind
from modise_lightning.prediction.inputs.archive import ArchiveLimits, list_archive, read_member
from modise_lightning.prediction.inputs.dicomdir import list_dicomdir

_LIMITS = ArchiveLimits(members=10, member_bytes=10_000, total_bytes=20_000)


def input_kinds() -> list[Kind]:
    """Give the archives and the lists."""
    listed = Path(str(get_testdata_file("DICOMDIR", download=False))).read_bytes()
    archives = [_archive(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    return [
        Kind("zip", "images.zip", _read_archive, archives),
        Kind("dicomdir", "DICOMDIR", _read_dicomdir, [listed]),
    ]


def _archive(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, content in (("a/1.png", b"1" * 900), ("2.dcm", bytes(range(256)) * 9), ("b.txt", b"")):
            file.writestr(name, content)
    return stream.getvalue()


def _read_archive(folder: Path) -> None:
    path = folder / "images.zip"
    for name in list_archive(path, _LIMITS).names:
        if name.startswith("/") or ".." in name.split("/"):
            raise InsaneResultError(f"a member called {name!r}")
        if len(read_member(path, name, _LIMITS).content) > _LIMITS.member_bytes:
            raise InsaneResultError(f"a member that is too large: {name!r}")


def _read_dicomdir(folder: Path) -> None:
    listed, _ = list_dicomdir(folder / "DICOMDIR")
    for path in listed:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InsaneResultError(f"a file elsewhere: {path}")
