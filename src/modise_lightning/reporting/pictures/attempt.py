"""Makes a picture if it can be made: one that fails never costs a result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def attempt_picture(name: str) -> Iterator[None]:
    """Go on without a picture that cannot be made, and say in one line which and why.

    Args:
        name: Of the picture or of what would be shown.
    """
    try:
        yield
    except Exception as error:  # whatever drawing and its libraries raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(f"warning: the picture '{name}' is left out ({reason}); the results stay.", file=sys.stderr)
