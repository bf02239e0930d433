"""Finds which file of an abnormality is its mask, by content and size, and fits it to the mammogram."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.data.images.dicom import read_dicom
from modise_lightning.data.images.reading import DICOM_SUFFIXES, MAXIMUM_PIXELS, read_image_file
from modise_lightning.data.preparation.via_shapes import CroppedMask
from modise_lightning.regular_files import check_regular

# In JPEG, which blurs the outline of a mask a little; in DICOM a mask has two values.
_BLACK, _WHITE = 0.2, 0.8  # of a mask's pixels, white being 1
_GREY_SHARE = 0.02  # of a mask's pixels that can be between these; a crop is grey all over
_LARGEST_SHARE = 0.9  # of a mammogram that an abnormality can cover
# Chosen: masks of another size that users of the release list are about 0.87 to 1.01 times as large.
_SMALLEST_SCALE, _LARGEST_SCALE = 0.5, 2.0  # of a mask that is fitted to its mammogram
_SIDES = 0.05  # relative difference of height's scale and width's, at most


@dataclass(frozen=True)
class FittedMask:
    """A mask in the mammogram's pixels.

    Attributes:
        path: The file it was read from.
        mask: The pixels of the abnormality.
        size: Height and width that the file has, if they are not the mammogram's.
    """

    path: Path
    mask: CroppedMask
    size: tuple[int, int] | None


def read_mask(paths: Sequence[Path], height: int, width: int) -> FittedMask:
    """Choose the mask among an abnormality's files and read it.

    Args:
        paths: The files of its series, in any order; copies of a file count once.
        height: The mammogram's height in pixels.
        width: Its width in pixels.

    Returns:
        The mask, resized if it has another size than the mammogram.

    Raises:
        ValueError: None of the files can be the mask, or several can, or it fits nowhere; says why.
        UserError: A file cannot be read.
        OSError: Likewise.
    """
    masks: list[tuple[Path, NDArray[np.bool_]]] = []
    flat: list[str] = []
    for path in _distinct(paths):
        shown = _read(path)
        if shown.min() == shown.max():
            flat.append(path.name)
        elif _is_mask(shown, path):
            masks.append((path, shown > (_BLACK + _WHITE) / 2))
    if not masks:
        listed = ", ".join(path.name for path in paths)
        empty = f" ({', '.join(flat)} has one value only)" if flat else ""
        raise ValueError(f"none of its files ({listed}) is a mask of black and white{empty}")
    if len(masks) > 1:
        same = [each for each in masks if each[1].shape == (height, width)]
        fitting = same or [each for each in masks if _fits(each[1], height, width)]
        if len(fitting) != 1:
            raise ValueError(f"{len(masks)} of its files could be the mask: {_listed(masks)}")
        masks = fitting
    path, mask = masks[0]
    size = None if mask.shape == (height, width) else (mask.shape[0], mask.shape[1])
    if size is not None:
        mask = _fit(path, mask, height, width)
    cropped = crop(mask)
    if not cropped.area:
        raise ValueError(f"its mask {path.name} is empty")
    if cropped.area > _LARGEST_SHARE * height * width:
        raise ValueError(f"its mask {path.name} covers {cropped.area} of {height * width} pixels")
    return FittedMask(path, cropped, size)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Leave out copies with the same bytes."""
    first: dict[str, Path] = {}
    for path in paths:
        digest = hashlib.sha256(check_regular(path).read_bytes()).hexdigest()
        first.setdefault(digest, path)
    return list(first.values())


def _read(path: Path) -> NDArray[np.float32]:
    """Read a mask or a crop, its darkest value being 0 and its brightest 1 in DICOM."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return read_dicom(path, MAXIMUM_PIXELS, window=_full_range)
    return read_image_file(path)


def _full_range(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _is_mask(shown: NDArray[np.float32], path: Path) -> bool:
    """Tell a mask, which is black and white, from a crop, which is grey."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return not np.any((shown > 0) & (shown < 1))
    grey = np.count_nonzero((shown > _BLACK) & (shown < _WHITE))
    return bool(grey <= _GREY_SHARE * shown.size and shown.min() <= _BLACK and shown.max() >= _WHITE)


def _fits(mask: NDArray[np.bool_], height: int, width: int) -> bool:
    """Tell whether a mask can be one of the mammogram in another size."""
    vertical, horizontal = height / mask.shape[0], width / mask.shape[1]
    is_possible = _SMALLEST_SCALE <= min(vertical, horizontal) <= max(vertical, horizontal) <= _LARGEST_SCALE
    return bool(is_possible and abs(vertical / horizontal - 1) <= _SIDES)


def _fit(path: Path, mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Resize a mask of another size.

    Raises:
        ValueError: It is too small or too large for the mammogram's mask, or has another shape.
    """
    if not _fits(mask, height, width):
        raise ValueError(
            f"its mask {path.name} of {mask.shape[0]} x {mask.shape[1]} pixels does not fit the mammogram of "
            f"{height} x {width}"
        )
    resized = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=bool)


def crop(mask: NDArray[np.bool_]) -> CroppedMask:
    """Keep the box around a mask's pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return CroppedMask(0, 0, np.zeros((0, 0), dtype=bool))
    top, left = int(rows[0]), int(columns[0])
    return CroppedMask(top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())


def _listed(masks: Sequence[tuple[Path, NDArray[np.bool_]]]) -> str:
    return ", ".join(f"{path.name} ({mask.shape[0]} x {mask.shape[1]})" for path, mask in masks)
