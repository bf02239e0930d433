"""Lesions of an image as a DICOM Segmentation object, a segment each (DICOM PS3.3, A.51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid

import modise_lightning
from modise_lightning.prediction.dicom_results.codes import (
    CATEGORY,
    MANUFACTURER,
    ClassCode,
    algorithm_of,
    code_of,
)
from modise_lightning.prediction.lesions import Lesion

_SERIES_NUMBER = 9001  # far from those of the examination
_LONGEST_LABEL = 64  # characters of a long string


def make_segmentation(
    source: Dataset,
    lesions: Sequence[tuple[Lesion, Mapping[str, Any]]],
    *,
    metadata: Mapping[str, Any],
    class_codes: Sequence[ClassCode],
    key: str,
) -> Segmentation:
    """Make the object; patient and study are those of the source.

    Args:
        source: The header of the image, of one frame.
        lesions: With their measurements; at least one.
        metadata: About the model.
        class_codes: Coded names of the classes.
        key: What its identifiers are made from: the same prediction has the same ones.
    """
    algorithm = algorithm_of(metadata)
    descriptions = []
    for number, (_, measured) in enumerate(lesions, start=1):
        description = SegmentDescription(
            segment_number=number,
            segment_label=f"{number}: {measured['class']}"[:_LONGEST_LABEL],
            segmented_property_category=CATEGORY,
            segmented_property_type=code_of(measured["class"], class_codes),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=lesion_uid(key, number),
            tracking_id=f"lesion {number}",
        )
        description.SegmentDescription = f"score {measured['score']}"
        descriptions.append(description)
    masks = np.stack([lesion.mask for lesion, _ in lesions], axis=-1)
    segmentation = Segmentation(
        source_images=[source],
        pixel_array=masks[None],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=[key, "segmentation series"]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=[key, "segmentation"]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=str(metadata["model"])[:_LONGEST_LABEL],
        software_versions=modise_lightning.__version__,
        device_serial_number=key[:16],
        content_label="LESIONS",
        content_description="lesions that a model predicts",
    )
    # Needed where no position in the patient is known; highdicom leaves it out.
    orientation = source.get("PatientOrientation")
    is_pair = isinstance(orientation, MultiValue) and len(orientation) == 2
    segmentation.PatientOrientation = orientation if is_pair else None
    return segmentation


def lesion_uid(key: str, number: int) -> str:
    """Give the identifier by which a lesion is the same in the segmentation and in the report."""
    return str(generate_uid(entropy_srcs=[key, f"lesion {number}"]))
