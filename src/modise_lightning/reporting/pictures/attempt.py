"""Makes a picture if it can be made: one that fails never costs a result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from modise_lightning.errors import UserError
from modise_lightning.visible_text import shortened


@contextmanager
def attempt_picture(name: str, left_out: list[str] | None = None) -> Iterator[None]:
    """Go on without a picture that cannot be made, and say in one line which and why.

    Args:
        name: Of the picture or of what would be shown.
        left_out: Is told it too, for those who have to say at their end what is missing.
    """
    try:
        yield
    except Exception as error:  # whatever drawing and its libraries raise
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        reason = shortened(" ".join(f"{kind}{error}".split()), 300)
        if left_out is not None:
            left_out.append(f"{name} ({reason.rstrip('.')})")
        print(f"warning: the picture '{name}' is left out ({reason}); the results stay.", file=sys.stderr)
