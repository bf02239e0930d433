"""Turns pictures and figures into data URIs, which a page can show without any other file."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from modise_lightning.reporting.figures.files import render_figure


def shrink(image: NDArray[np.float32], longest_side: int) -> NDArray[np.float32]:
    """Make the longer side of (H, W) at most so long; a smaller image keeps its size."""
    scale = min(1.0, longest_side / max(image.shape))
    height, width = (max(1, round(side * scale)) for side in image.shape)
    if (height, width) == image.shape:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32)


def picture_uri(image: NDArray[np.float32], quality: int) -> str:
    """Encode (H, W) grey values in [0, 1] as WebP.

    Args:
        image: What to encode.
        quality: 1 to 100.
    """
    grey = (image.clip(0, 1) * 255).round().astype(np.uint8)
    succeeded, data = cv2.imencode(".webp", grey, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not succeeded:
        raise ValueError(f"a picture of {image.shape} cannot be encoded.")
    return _data_uri("image/webp", data.tobytes())


def figure_uri(figure: Figure) -> str:
    """Encode a figure as SVG; its letters are outlines, so that no font of the reader's is needed."""
    return _data_uri("image/svg+xml", render_figure(figure, "svg", letters_as_outlines=True))


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
