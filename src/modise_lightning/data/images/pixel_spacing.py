"""Reads how large a pixel of a DICOM image is."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset

SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor")


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Give the height and width of a pixel in millimetres, in the breast as far as the file says.

    PixelSpacing, where it is there, is calibrated; ImagerPixelSpacing is measured at the detector, which the
    estimated magnification, if any, projects back into the breast (DICOM PS3.3, 10.7.1 and C.8.11.1).

    Args:
        header: With at least ``SPACING_TAGS``.

    Returns:
        None where the file does not say it, or says what no pixel can have.
    """
    calibrated = _pair(header.get("PixelSpacing"))
    if calibrated is not None:
        return calibrated
    at_detector = _pair(header.get("ImagerPixelSpacing"))
    if at_detector is None:
        return None
    factor = _number(header.get("EstimatedRadiographicMagnificationFactor")) or 1.0
    return at_detector[0] / factor, at_detector[1] / factor


def _pair(value: Any) -> tuple[float, float] | None:  # noqa: ANN401 (whatever the file holds)
    if value is None or isinstance(value, str | int | float) or len(value) != 2:
        return None
    row, column = (_number(each) for each in value)
    return None if row is None or column is None else (row, column)


def _number(value: Any) -> float | None:  # noqa: ANN401
    """Give a positive number; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
