"""Reads the pixels of a mammogram in DICOM as they are meant to be displayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut

from modise_lightning.errors import UserError

_PERCENTILES = (0.5, 99.5)  # where a file has no window; leaves out burnt-in markers and dead pixels


def read_dicom(path: Path, maximum_pixels: int) -> NDArray[np.float32]:
    """Read a single-frame grey image: rescale, first window, MONOCHROME1 inverted, so that tissue is bright.

    The window is linear, (x - (c - 0.5)) / (w - 1) + 0.5 (DICOM PS3.3 C.11.2.1.2.1); without one the 0.5 and 99.5
    percentiles stand in.

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
        if "PixelData" not in dataset:
            raise UserError(f"'{path}' is DICOM without pixel data.")
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        if rows * columns > maximum_pixels:
            raise UserError(f"'{path}' has {rows} x {columns} pixels, more than {maximum_pixels}.")
        if int(dataset.get("NumberOfFrames", 1) or 1) != 1 or int(dataset.SamplesPerPixel) != 1:
            raise UserError(f"'{path}' has several frames or colours; a single grey image is needed.")
        values = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), dtype=np.float32)
    except UserError:
        raise
    except (InvalidDicomError, AttributeError, KeyError, ValueError, RuntimeError, OSError, EOFError) as error:
        raise UserError(f"'{path}' is not a readable DICOM image ({error}).") from error
    low, high = _display_range(dataset, values)
    shown = ((values - low) / max(high - low, 1e-6)).clip(0, 1)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1 - shown
    return shown.astype(np.float32)


def _display_range(dataset: Dataset, values: NDArray[np.float32]) -> tuple[float, float]:
    """Give the values shown as black and as white."""
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is not None and width is not None and width > 1:
        low = center - 0.5 - (width - 1) / 2
        return low, low + width - 1
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _first(value: object) -> float | None:
    """Some vendors give several windows; the first is the default one."""
    if value is None or value == "":
        return None
    if isinstance(value, MultiValue):
        return float(value[0]) if len(value) else None
    return float(str(value))
