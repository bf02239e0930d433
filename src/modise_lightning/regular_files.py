"""Files that can be read to their end: a pipe or a device would be waited for, or never end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)

# What no file can be called, and links that lead to themselves.
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP)


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there, also of a path that another file gives and that none can have.

    Raises:
        OSError: The folder cannot be looked into.
    """
    return is_there(path) and path.is_file()


def is_there(path: Path) -> bool:
    """Tell whether a file or folder is there, also of a path that none can have.

    Raises:
        OSError: The folder cannot be looked into.
    """
    try:
        return path.exists()
    except OSError as error:
        if error.errno in _NO_NAME:
            return False
        raise


def check_regular(path: Path) -> Path:
    """Give the path back if a regular file is there (links are followed), before it is opened.

    Raises:
        OSError: Nothing is there, or something that is no regular file; says which.
    """
    mode = path.stat().st_mode
    for matches, kind in _KINDS:
        if matches(mode):
            raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))
    return path
