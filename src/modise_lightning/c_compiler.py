"""Whether this machine has the C compiler that Triton and torch.compile build their launchers with."""

from __future__ import annotations

import os
import shutil
from functools import cache


@cache
def has_c_compiler() -> bool:
    """Look where Triton looks: the variable CC, then gcc and clang on the path."""
    return any(shutil.which(name) for name in (os.environ.get("CC"), "gcc", "clang") if name)
