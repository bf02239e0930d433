"""Reads the pixels of a mammogram in DICOM as they are meant to be displayed."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian

from modise_lightning.errors import UserError

_PERCENTILES = (
    0.5,
    99.5,
)  # where a file says nothing of its display; leaves out burnt-in markers and dead pixels
_BYTES_PER_PIXEL = 2  # of a mammogram
_OTHER_BYTES = 16 * 2**20  # of all other elements; a header has kilobytes
_PIECE_BYTES = 2**20
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")


Window = Callable[[NDArray[Any]], tuple[float, float] | None]


def read_dicom(path: Path, maximum_pixels: int, window: Window | None = None) -> NDArray[np.float32]:
    """Read a single-frame grey image so that tissue is bright.

    In this order: rescale, first window (without one: first VOI lookup table; without that: ``window``, or
    the 0.5 and 99.5 percentiles), MONOCHROME1 inverted, padding black.

    Args:
        path: The file.
        maximum_pixels: Larger images are refused before their pixels are decoded.
        window: Gives black and white of an image, (H, W) with bright tissue, whose file says nothing of its
            display; None, from it or instead of it, takes the percentiles.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        UserError: Not DICOM, no pixels, several frames or colours, too large, or undecodable.
    """
    try:
        _check_inflated_size(path, maximum_pixels)
        dataset = pydicom.dcmread(path)
        _check_header(path, dataset, maximum_pixels)
        stored = dataset.pixel_array
        padding = _padding(dataset, stored)
        values = apply_modality_lut(stored, dataset)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise UserError(f"'{path}' has values that are no picture ({values.ndim} axes, or not finite).")
        shown = _display(dataset, values, padding, window)
    except UserError:
        raise
    except Exception as error:  # Damaged files make pydicom and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable DICOM image ({reason}).") from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return shown.astype(np.float32)


def _check_inflated_size(path: Path, maximum_pixels: int) -> None:
    """Inflate a deflated file piece by piece, keeping nothing: pydicom would inflate any size at once."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    limit = _BYTES_PER_PIXEL * maximum_pixels + _OTHER_BYTES
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        # Preamble, prefix, and the element that says how long the others of the group are (PS3.10, 7.1).
        file.seek(128 + 4 + 12 + int(meta.FileMetaInformationGroupLength))
        while data := inflater.unconsumed_tail or file.read(_PIECE_BYTES):
            size += len(inflater.decompress(data, _PIECE_BYTES))
            if size > limit:
                raise UserError(
                    f"'{path}' inflates to more than {limit} bytes, which {maximum_pixels} pixels need."
                )


def _check_header(path: Path, dataset: Dataset, maximum_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise UserError(f"'{path}' is DICOM without pixel data.")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise UserError(f"'{path}' has {rows} x {columns} pixels.")
    if rows * columns > maximum_pixels:
        raise UserError(f"'{path}' has {rows} x {columns} pixels, more than {maximum_pixels}.")
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if samples != 1:
        raise UserError(f"'{path}' has {samples} samples a pixel; one grey value is needed.")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        value = dataset.get(keyword)
        if value is None or value == "":
            continue
        if not math.isfinite(float(value)) or (keyword == "RescaleSlope" and float(value) == 0):
            raise UserError(f"'{path}' has the {keyword} {value}, which leaves no picture.")
    if str(dataset.get("PresentationIntentType", "")).strip().upper() == "FOR PROCESSING":
        warnings.warn(
            f"'{path}' is FOR PROCESSING: raw detector values, which look unlike the images that models are "
            "trained on. Use the image FOR PRESENTATION of the same exposure.",
            stacklevel=3,
        )
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


def _display(
    dataset: Dataset, values: NDArray[Any], padding: NDArray[np.bool_], window: Window | None
) -> NDArray[np.float64]:
    """Map rescaled values to what is displayed, black being 0 and white 1."""
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
    visible = values[~padding]
    low, high = np.percentile(visible if visible.size else values, _PERCENTILES)
    return _ramp(values.astype(np.float64), float(low), float(high))


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
