"""Files that programs leave beside the real ones."""

from __future__ import annotations


def is_of_the_system(name: str) -> bool:
    """Tell files that programs leave beside the real ones: macOS's ``._*``, and ``~$*`` of open workbooks."""
    return name.startswith(("._", "~$"))
