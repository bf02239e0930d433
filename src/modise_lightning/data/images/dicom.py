"""Reads the pixels of a mammogram in DICOM as they are meant to be displayed."""

from __future__ import annotations

import math
import warnings
import zlib
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from modise_lightning.data.images.dicom_display import Window, attenuation, display, spread
from modise_lightning.data.images.image_file import DEFAULT_PIXELS, ImageFile, PixelSettings
from modise_lightning.errors import UserError

_BYTES_PER_PIXEL = 2  # of a mammogram
_OTHER_BYTES = 16 * 2**20  # of all other elements; a header has kilobytes
_PIECE_BYTES = 2**20
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
# What the display needs of a frame's functional groups, in enhanced objects (DICOM PS3.3, C.7.6.16).
_OF_A_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


def read_dicom(
    path: ImageFile,
    maximum_pixels: int,
    pixels: PixelSettings = DEFAULT_PIXELS,
    window: Window | None = None,
) -> NDArray[np.float32]:
    """Read a grey image so that tissue is bright.

    In this order: rescale, first window (without one: first VOI lookup table; without that: ``window``, or
    the 0.5 and 99.5 percentiles), MONOCHROME1 or the presentation lookup table INVERSE inverted, padding
    black. Raw detector values that are converted: logarithm, percentiles.

    Args:
        path: The file.
        maximum_pixels: Larger images are refused before their pixels are decoded.
        pixels: What is done with raw detector values and with several frames.
        window: Gives black and white of an image, (H, W) with bright tissue, whose file says nothing of its
            display; None, from it or instead of it, takes the percentiles.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        UserError: Not DICOM, no pixels, several frames or colours, too large, or undecodable.
    """
    try:
        check_inflated_size(path, maximum_pixels)
        with path.open("rb") as file:
            dataset = pydicom.dcmread(file)
        index = _check_header(path, dataset, maximum_pixels, pixels)
        if index is None:
            stored = dataset.pixel_array
        else:
            stored = pixel_array(dataset, index=index)
            _take_frame_groups(dataset, index)
        padding = _padding(dataset, stored)
        values = apply_modality_lut(stored, dataset)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise UserError(f"'{path}' has values that are no picture ({values.ndim} axes, or not finite).")
        if is_for_processing(dataset) and pixels.for_processing == "convert":
            shown = spread(attenuation(dataset, values), padding)
        else:
            shown = display(dataset, values, padding, window)
            if _is_inverted(path, dataset):
                shown = 1 - shown
    except UserError:
        raise
    except Exception as error:  # Damaged files make pydicom and its decoders raise almost anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is not a readable DICOM image ({reason}).") from error
    shown[padding] = 0
    return shown.astype(np.float32)


def is_for_processing(dataset: Dataset) -> bool:
    """Tell raw detector values, which a workstation makes a picture of."""
    return str(dataset.get("PresentationIntentType", "")).strip().upper() == "FOR PROCESSING"


def check_inflated_size(path: ImageFile, maximum_pixels: int) -> None:
    """Inflate a deflated file piece by piece, keeping nothing: pydicom would inflate any size at once."""
    with path.open("rb") as file:
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=_is_behind_meta_information)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        limit = _BYTES_PER_PIXEL * maximum_pixels + _OTHER_BYTES
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        # Preamble, prefix, and the element that says how long the others of the group are (PS3.10, 7.1).
        file.seek(128 + 4 + 12 + int(meta.FileMetaInformationGroupLength))
        while data := inflater.unconsumed_tail or file.read(_PIECE_BYTES):
            size += len(inflater.decompress(data, _PIECE_BYTES))
            if size > limit:
                raise UserError(
                    f"'{path}' inflates to more than {limit} bytes, which {maximum_pixels} pixels need."
                )


def _is_behind_meta_information(tag: BaseTag, _: str | None, __: int) -> bool:
    return int(tag) >> 16 != 2


def _check_header(
    path: ImageFile, dataset: Dataset, maximum_pixels: int, pixels: PixelSettings
) -> int | None:
    """Check what the pixels are before they are decoded; give which of several frames, from 0."""
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
    _check_intent(path, dataset, pixels)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if dataset.PhotometricInterpretation not in _PHOTOMETRIC or frames < 1:
        raise UserError(
            f"'{path}' has {frames} frame(s) of {dataset.PhotometricInterpretation}; one grey image is "
            "needed."
        )
    return None if frames == 1 else _choose_frame(path, dataset, frames, pixels.frame)


def _choose_frame(path: ImageFile, dataset: Dataset, frames: int, chosen: int | None) -> int:
    if chosen is None:
        raise UserError(
            f"'{path}' has {frames} frame(s) of {dataset.PhotometricInterpretation}, as tomosynthesis has; "
            "one grey image is needed. Give the "
            f"two-dimensional image of the exam, or choose a frame (predict: frame=1 to {frames})."
        )
    if not 1 <= chosen <= frames:
        raise UserError(f"'{path}' has the frames 1 to {frames}; frame={chosen} is none of them.")
    return chosen - 1


def _check_intent(path: ImageFile, dataset: Dataset, pixels: PixelSettings) -> None:
    if not is_for_processing(dataset) or pixels.for_processing == "convert":
        return
    told = (
        f"'{path}' is FOR PROCESSING: raw detector values, which look unlike the images that models are "
        "trained on. Use the image FOR PRESENTATION of the same exposure"
    )
    if pixels.for_processing == "refuse":
        raise UserError(f"{told}, or for_processing=convert.")
    warnings.warn(f"{told}.", stacklevel=4)


def _take_frame_groups(dataset: Dataset, index: int) -> None:
    """Put what an enhanced object says of a frame, or of all, where objects of one frame have it."""
    for groups, position in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", index),
    ):
        items = dataset.get(groups) or ()
        if position >= len(items):
            continue
        for name in _OF_A_FRAME:
            for item in items[position].get(name) or ():
                dataset.update(item)


def _is_inverted(path: ImageFile, dataset: Dataset) -> bool:
    """Tell whether small values are bright: MONOCHROME1, or a presentation lookup table that inverts.

    Both stand together in images FOR PRESENTATION (DICOM PS3.3, C.8.11.3.1.2), and invert once.
    """
    shape = str(dataset.get("PresentationLUTShape", "") or "").strip().upper()
    is_first = dataset.PhotometricInterpretation == "MONOCHROME1"
    if (is_first and shape == "IDENTITY") or (not is_first and shape == "INVERSE"):
        warnings.warn(
            f"'{path}' is {dataset.PhotometricInterpretation} with the PresentationLUTShape {shape}, which "
            "contradict each other: it is read as inverted.",
            stacklevel=3,
        )
    return is_first or shape == "INVERSE"


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which stored pixels are outside the picture (DICOM PS3.3 C.7.5.1.1.2), (H, W)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= low) & (stored <= high))
