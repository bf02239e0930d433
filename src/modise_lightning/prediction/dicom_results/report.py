"""Measurements of an image's lesions as a DICOM Structured Report (TID 1500 of DICOM PS3.16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom.sr as structured
from highdicom.seg import Segmentation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

import modise_lightning
from modise_lightning.prediction.dicom_results.codes import MANUFACTURER, ClassCode, code_of
from modise_lightning.prediction.dicom_results.segmentation import lesion_uid

_SERIES_NUMBER = 9002
_PROCEDURE = Code("71651007", "SCT", "Mammography")
_SQUARE_PIXELS = Code("{pixels}", "UCUM", "pixels")
# What is measured, by its column: its name, and its unit.
_IN_MM = {
    "area_mm2": (codes.SCT.Area, codes.UCUM.SquareMillimeter),
    "longest_diameter_mm": (codes.SCT.MajorAxis, codes.UCUM.Millimeter),
    "shortest_diameter_mm": (codes.SCT.MinorAxis, codes.UCUM.Millimeter),
}
_IN_PIXELS = {
    "area": (codes.SCT.Area, _SQUARE_PIXELS),
    "longest_diameter": (codes.SCT.MajorAxis, _SQUARE_PIXELS),
    "shortest_diameter": (codes.SCT.MinorAxis, _SQUARE_PIXELS),
}


def make_report(
    source: Dataset,
    segmentation: Segmentation,
    measurements: Sequence[Mapping[str, Any]],
    *,
    laterality: str | None,
    metadata: Mapping[str, Any],
    class_codes: Sequence[ClassCode],
    key: str,
) -> structured.ComprehensiveSR:
    """Make the report; patient and study are those of the source.

    Args:
        source: The header of the image.
        segmentation: Of the same lesions in the same order.
        measurements: Of each lesion; at least one.
        laterality: ``left`` or ``right``; None where it is unknown.
        metadata: About the model.
        class_codes: Coded names of the classes.
        key: What its identifiers are made from: the same prediction has the same ones.
    """
    device = structured.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=structured.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[str(metadata["model"]), modise_lightning.__version__]),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=str(metadata["model"])[:64],
        ),
    )
    groups = []
    for number, measured in enumerate(measurements, start=1):
        groups.append(
            structured.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=structured.TrackingIdentifier(
                    uid=lesion_uid(key, number), identifier=f"lesion {number}"
                ),
                referenced_segment=_segment(source, segmentation, number),
                finding_type=code_of(measured["class"], class_codes),
                finding_category=codes.SCT.MorphologicallyAbnormalStructure,
                finding_sites=[_site(laterality)],
                algorithm_id=structured.AlgorithmIdentification(
                    name=str(metadata["model"])[:64], version=modise_lightning.__version__
                ),
                measurements=_measurements(measured),
            )
        )
    content = structured.MeasurementReport(
        observation_context=structured.ObservationContext(observer_device_context=device),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[source],
    )
    return structured.ComprehensiveSR(
        evidence=[source, segmentation],
        content=content,
        series_instance_uid=generate_uid(entropy_srcs=[key, "report series"]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=[key, "report"]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
    )


def _segment(
    source: Dataset, segmentation: Segmentation, number: int
) -> structured.ReferencedSegmentationFrame:
    """Refer to a segment. Each is a frame of the same number, since none is empty."""
    reference = structured.ReferencedSegmentationFrame(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        frame_number=number,
        segment_number=number,
        source_image=structured.SourceImageForSegmentation.from_source_image(source),
    )
    for item in reference:
        for referenced in item.get("ReferencedSOPSequence") or ():
            # Frames and segments are told in the alternative (DICOM PS3.3, C.18.4).
            if "ReferencedSegmentNumber" in referenced:
                del referenced.ReferencedFrameNumber
    return reference


def _site(laterality: str | None) -> structured.FindingSite:
    side = {"left": codes.SCT.Left, "right": codes.SCT.Right, None: None}[laterality]
    return structured.FindingSite(anatomic_location=codes.SCT.Breast, laterality=side)


def _measurements(measured: Mapping[str, Any]) -> list[structured.Measurement]:
    chosen = _IN_MM if "area_mm2" in measured else _IN_PIXELS
    found = [
        structured.Measurement(name=name, value=measured[column], unit=unit)
        for column, (name, unit) in chosen.items()
    ]
    certainty = round(100 * measured["score"], 4)
    found.append(
        structured.Measurement(name=codes.DCM.CertaintyOfFinding, value=certainty, unit=codes.UCUM.Percent)
    )
    return found
