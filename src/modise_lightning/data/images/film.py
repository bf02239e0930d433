"""Chooses the contrast of a digitised film from the breast alone, not from labels, tape and borders."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import skimage.filters
from numpy.typing import NDArray

# Chosen on real mammograms onto which labels, tape and borders were drawn; their window without was known.
_WORKING_SIDE = 256  # a breast is coarse: larger films are searched at this size, in pixels
_GREY_LEVELS = 256  # of the histogram that is divided
_CLIPPED = 0.05  # share of a film's range below its brightest value that is paper, tape or light, not tissue
_BORDER_SHARE = 0.9  # of a line along an edge that is nearly white or black: there is no breast in it
_AIR = 0.05  # share of the range between air and the brightest tissue that is air too
_NOISE = 4  # standard deviations of air that are air too
_CLOSING = 0.02  # of the working side: gaps in fat this wide are breast
_OPENING = 0.08  # of the working side: what is this thin, tape or a bridge to a label, is cut off the breast
_SKIN = 0.01  # of the working side that is left out along the breast's outline for black: air is mixed in
_EDGE = 0.12  # the same for white: tape and labels reach a little over the breast
_BLACK, _WHITE = 0.5, 99.9  # percentiles of the breast: fat stays visible, and so do bright calcifications
_FLAT = 1e-4  # share of its values that a film's range is at least; less cannot be told from rounding
_MOST_SAMPLES = 2_000_000  # pixels that the percentiles are taken of


def film_window(values: NDArray[Any]) -> tuple[float, float] | None:
    """Give the values that are shown black and white, from pixels inside the breast.

    Args:
        values: (H, W), tissue brighter than air, in any unit.

    Returns:
        Black and white; None if there is no breast to be found.
    """
    height, width = values.shape
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(
        cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA), dtype=np.float32
    )
    found = _find_breast(small)
    if found is None:
        return None
    breast, air = found
    step = int(np.ceil(np.sqrt(height * width / _MOST_SAMPLES)))
    rows = np.arange(0, height, step) * size[1] // height
    columns = np.arange(0, width, step) * size[0] // width
    sampled = values[::step, ::step]
    is_tissue = (sampled > air) & (sampled < _limit(sampled))

    def percentile(part: NDArray[np.bool_], percent: float) -> float:
        inside = sampled[part[rows[:, None], columns[None]] & is_tissue]
        return float(np.percentile(inside, percent)) if inside.size else float("nan")

    low = percentile(_shrunk(breast, _SKIN), _BLACK)
    high = percentile(_shrunk(breast, _EDGE), _WHITE)
    return (low, high) if high > low else None


def _limit(values: NDArray[Any]) -> float:
    """Give the value above which there is no tissue."""
    low, high = float(values.min()), float(values.max())
    return high - _CLIPPED * (high - low)


def _find_breast(small: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float] | None:
    """Find the largest part that is brighter than air and no border; and how bright air is at most."""
    limit = _limit(small)
    dark = small <= float(small.min()) + float(small.max()) - limit
    within = _within_borders((small >= limit) | dark)
    values = small[within & (small < limit)]
    if not values.size:
        return None
    air = _brightest_air(values)
    breast = _largest(within & (small < limit) & (small > air))
    return None if breast is None else (breast, air)


def _brightest_air(values: NDArray[np.float32]) -> float:
    """Give the value that air does not exceed: it is the narrowest peak of the darker half, and its noise."""
    low, middle, high = (float(value) for value in np.percentile(values, (0, 50, 99)))
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return high
    otsu: Any = skimage.filters.threshold_otsu
    middle = min(middle, float(otsu(values, _GREY_LEVELS)))
    counts, edges = np.histogram(values, _GREY_LEVELS, (low, high))
    peak = int(np.where(edges[:-1] <= middle, counts, 0).argmax())
    air = float(edges[peak] + edges[peak + 1]) / 2
    darker = values[values < air]
    noise = float(np.sqrt(np.mean((darker - air) ** 2))) if darker.size else 0.0
    return air + max(_AIR * (high - air), _NOISE * min(noise, air - low))


def _within_borders(border: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out the lines along the edges that are border for most of their length."""
    within = np.zeros(border.shape, dtype=bool)
    spans = []
    for axis in (1, 0):
        is_border = border.mean(axis=axis) >= _BORDER_SHARE
        first = int(np.argmin(is_border))
        last = len(is_border) - int(np.argmin(is_border[::-1]))
        spans.append(slice(first, last))
    within[spans[0], spans[1]] = True
    return within


def _largest(tissue: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    closed = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_CLOSE, _kernel(_CLOSING))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _kernel(_OPENING))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    return np.asarray(labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax()))


def _shrunk(part: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Leave out the rim, unless nothing would be left; the edges of the film have none."""
    eroded = cv2.erode(part.astype(np.uint8), _kernel(share)).astype(bool)
    return eroded if eroded.any() else part


def _kernel(share: float) -> NDArray[np.uint8]:
    side = 2 * round(share * _WORKING_SIDE / 2) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
