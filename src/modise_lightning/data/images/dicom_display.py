"""From a DICOM image's rescaled values to what is displayed, black being 0 and white 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

_PERCENTILES = (
    0.5,
    99.5,
)  # where a file says nothing of its display; leaves out burnt-in markers and dead pixels


Window = Callable[[NDArray[Any]], tuple[float, float] | None]


def display(
    dataset: Dataset, values: NDArray[Any], padding: NDArray[np.bool_], window: Window | None = None
) -> NDArray[np.float64]:
    """Map rescaled values by the first window, the first VOI lookup table, ``window``, or by percentiles.

    Args:
        dataset: What says how it is displayed.
        values: (H, W) after rescaling.
        padding: (H, W), pixels outside the picture.
        window: Gives black and white of an image with bright tissue; None, from it or instead of it: goes on.

    Returns:
        (H, W) in [0, 1], before MONOCHROME1 is inverted.
    """
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        return _window(values.astype(np.float64), center, width, dataset.get("VOILUTFunction") or "LINEAR")
    if dataset.get("VOILUTSequence"):
        return _look_up(np.rint(values).astype(np.int64), dataset.VOILUTSequence[0])
    if window is not None:
        sign = -1 if dataset.PhotometricInterpretation == "MONOCHROME1" else 1
        limits = window(sign * values.astype(np.float32))
        if limits is not None:
            low, high = sorted(sign * limit for limit in limits)
            return _ramp(values.astype(np.float64), low, high)
    return spread(values.astype(np.float64), padding)


def spread(values: NDArray[np.float64], padding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Map the 0.5 and 99.5 percentiles of what is no padding to black and white, in place."""
    visible = values[~padding]
    low, high = np.percentile(visible if visible.size else values, _PERCENTILES)
    return _ramp(values, float(low), float(high))


def attenuation(dataset: Dataset, values: NDArray[Any]) -> NDArray[np.float64]:
    """Make of raw detector values some that rise with what the tissue attenuates.

    The intensity behind tissue falls exponentially with what it attenuates (Beer and Lambert), so the
    logarithm of values linear in it falls linearly.

    Args:
        dataset: Its PixelIntensityRelationship is LIN or LOG, and its sign 1 where values rise with the
            intensity, -1 where they fall (DICOM PS3.3, C.8.11.3.1.2).
        values: (H, W).

    Raises:
        ValueError: The file does not say how its values depend on the intensity.
    """
    relationship = str(dataset.get("PixelIntensityRelationship", "") or "").strip().upper()
    sign = dataset.get("PixelIntensityRelationshipSign")
    if relationship not in ("LIN", "LOG") or sign not in (1, -1):
        raise ValueError(
            "it says not how its values depend on the intensity: PixelIntensityRelationship is "
            f"{relationship or 'missing'}, its sign {'missing' if sign is None else sign}"
        )
    if sign == -1:
        return values.astype(np.float64)
    if relationship == "LOG":
        return -values.astype(np.float64)
    return -np.log(np.maximum(values.astype(np.float64), 1))


def _look_up(values: NDArray[np.int64], item: Dataset) -> NDArray[np.float64]:
    """Apply a VOI lookup table (DICOM PS3.3 C.11.2.1.1).

    White is the largest value of as many bits as the table's data need: some files declare 16 and hold 12,
    or declare fewer than they hold.
    """
    entries, first, _ = (int(value) for value in item.LUTDescriptor)
    entries = entries or 65536
    if first > 32767 and values.min(initial=0) < 0:
        first -= 65536  # the descriptor's number is signed where the pixels are
    data = item.LUTData
    if isinstance(data, bytes):
        table = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * entries else "<u2")
    else:
        table = np.atleast_1d(np.asarray(data))
    table = table[:entries].astype(np.int64)
    if not len(table) or table.max() <= 0:
        raise ValueError("its VOI lookup table is empty")
    white = 2 ** int(table.max()).bit_length() - 1
    return np.asarray(table[np.clip(values - first, 0, len(table) - 1)] / white)


def _window(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Apply a window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -500, 500))))
    if function == "LINEAR_EXACT":
        return _ramp(values, center - width / 2, center + width / 2)
    return _ramp(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _ramp(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map low to 0 and high to 1, in place: a mammogram's temporary copies would take most of the memory."""
    if high <= low:
        return (values > low).astype(np.float64)
    values -= low
    values /= high - low
    return np.clip(values, 0, 1, out=values)


def _first(value: object) -> float | None:
    """Some vendors give several windows; the first is the default one."""
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"the window value {number} is not finite")
    return number
