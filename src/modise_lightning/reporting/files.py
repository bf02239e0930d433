"""Writes JSON and PNG files whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.atomic_files import write_bytes_atomically


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
