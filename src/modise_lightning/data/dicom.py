"""Reads the pixels of a mammogram in DICOM as they are meant to be displayed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from modise_lightning.errors import UserError

_PERCENTILES = (
    0.5,
    99.5,
)  # where a file says nothing of its display; leaves out burnt-in markers and dead pixels
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")


def read_dicom(path: Path, maximum_pixels: int) -> NDArray[np.float32]:
    """Read a single-frame grey image so that tissue is bright.

    In this order: rescale, first window (without one: first VOI lookup table; without that: the 0.5 and 99.5
    percentiles), MONOCHROME1 inverted, padding black.

    Args:
        path: The file.
        maximum_pixels: Larger images are refused before their pixels are decoded.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        UserError: Not DICOM, no pixels, several frames or colours, too large, or undecodable.
    """
    try:
        dataset = pydicom.dcmread(path)
        _check_header(path, dataset, maximum_pixels)
        stored = dataset.pixel_array
        padding = _padding(dataset, stored)
        values = apply_modality_lut(stored, dataset)
        shown = _display(dataset, values, padding)
    except UserError:
        raise
    except Exception as error:  # Damaged files make pydicom and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable DICOM image ({reason}).") from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return shown.astype(np.float32)


def _check_header(path: Path, dataset: Dataset, maximum_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise UserError(f"'{path}' is DICOM without pixel data.")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise UserError(f"'{path}' has {rows} x {columns} pixels.")
    if rows * columns > maximum_pixels:
        raise UserError(f"'{path}' has {rows} x {columns} pixels, more than {maximum_pixels}.")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames != 1 or dataset.PhotometricInterpretation not in _PHOTOMETRIC:
        raise UserError(
            f"'{path}' has {frames} frame(s) of {dataset.PhotometricInterpretation}; one grey image is "
            "needed."
        )


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which stored pixels are outside the picture (DICOM PS3.3 C.7.5.1.1.2), (H, W)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= low) & (stored <= high))


def _display(dataset: Dataset, values: NDArray[Any], padding: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Map rescaled values to what is displayed, black being 0 and white 1."""
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is not None and width is not None and width > 0:
        return _window(values.astype(np.float64), center, width, dataset.get("VOILUTFunction") or "LINEAR")
    if dataset.get("VOILUTSequence"):
        entries, _, bits = dataset.VOILUTSequence[0].LUTDescriptor
        if bits == 8 and entries > 256:
            raise ValueError("its VOI lookup table has 8 bits and over 256 entries, which pydicom misreads")
        return np.asarray(apply_voi(np.rint(values).astype(np.int32), dataset) / (2**bits - 1))
    visible = values[~padding]
    low, high = np.percentile(visible if visible.size else values, _PERCENTILES)
    return _ramp(values.astype(np.float64), float(low), float(high))


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
