"""Writes files under a temporary name first, so that no reader ever sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write a file; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json_atomically(path: Path, content: object) -> None:
    """Write JSON; values that JSON has no words for (NaN) are refused."""
    write_bytes_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_png_atomically(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (H, W) grey or (H, W, 3) RGB as PNG."""
    channels = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    succeeded, data = cv2.imencode(".png", channels)
    if not succeeded:
        raise ValueError(f"{path}: the picture cannot be encoded.")
    write_bytes_atomically(path, data.tobytes())
