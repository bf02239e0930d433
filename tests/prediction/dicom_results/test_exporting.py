"""DICOM results hold the pixels and measurements, are of the source's patient, and pass an outside check."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

highdicom = pytest.importorskip(
    "highdicom", reason="DICOM results are written by highdicom, the extra [dicom]"
)

from modise_lightning.data.images.image_file import PixelSettings  # noqa: E402
from modise_lightning.errors import UserError  # noqa: E402
from modise_lightning.prediction.dicom_results.codes import ClassCode, code_of  # noqa: E402
from modise_lightning.prediction.dicom_results.exporting import DicomExporter  # noqa: E402
from modise_lightning.prediction.exams import ExamPlace  # noqa: E402
from modise_lightning.prediction.inputs.archive import ArchiveLimits  # noqa: E402
from modise_lightning.prediction.inputs.dicom_tags import read_tags  # noqa: E402
from modise_lightning.prediction.inputs.finding import InputImage  # noqa: E402
from modise_lightning.prediction.lesions import Lesion  # noqa: E402
from modise_lightning.prediction.loading import LoadingTask  # noqa: E402
from modise_lightning.prediction.planning import PlannedImage  # noqa: E402

LIMITS = ArchiveLimits(members=10, member_bytes=10**7, total_bytes=10**7)
CODES = [
    ClassCode("calcification", "129769006", "SCT", "Calcification Cluster"),
    ClassCode("mass", "4147007", "SCT", "Mass"),
    ClassCode("", "52988006", "SCT", "Lesion"),
]
SHAPE = (128, 128)  # of CT_small.dcm


def mask(top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
    pixels = np.zeros(SHAPE, dtype=bool)
    pixels[top : top + height, left : left + width] = True
    return pixels


MASKS = [mask(10, 20, 30, 40), mask(35, 50, 20, 31)]  # they overlap


def export(tmp_path: Path, kinds: list[str], masks: list[NDArray[np.bool_]] = MASKS) -> list[Path]:
    path = Path(str(get_testdata_file("CT_small.dcm")))
    planned = PlannedImage(
        LoadingTask(0, InputImage(path, (path.name,)), path.name, PixelSettings()),
        "",
        "a",
        ExamPlace("study", "left", "CC"),
        read_tags(path),
        "ab" * 32,
    )
    lesions = [
        (
            Lesion(0, 0.9, pixels),
            {
                **{"class": name, "score": 0.912345, "area_mm2": float(pixels.sum()) / 4},
                **{"longest_diameter_mm": 12.5, "shortest_diameter_mm": 3.25},
            },
        )
        for pixels, name in zip(masks, ("benign mass", "calcification cluster"), strict=False)
    ]
    return DicomExporter(kinds, {"model": "tiny"}, CODES, LIMITS)(planned, tmp_path, lesions)


def test_the_segmentation_holds_every_pixel_and_is_of_the_same_study(tmp_path: Path) -> None:
    source = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    (path,) = export(tmp_path, ["dicom_seg"])
    read = highdicom.seg.segread(path)
    pixels = read.get_pixels_by_source_instance([source.SOPInstanceUID])
    for number, expected in enumerate(MASKS):
        np.testing.assert_array_equal(pixels[0, ..., number].astype(bool), expected)
    plain = pydicom.dcmread(path)
    frames = plain.pixel_array
    np.testing.assert_array_equal(frames.astype(bool), np.stack(MASKS))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert plain[keyword].value == source[keyword].value
    first, second = plain.SegmentSequence
    assert first.SegmentDescription == "score 0.912345"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "4147007"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeValue == "129769006"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "tiny"


def test_the_report_measures_the_segments_of_the_segmentation(tmp_path: Path) -> None:
    segmentation, report = export(tmp_path, ["dicom_seg", "dicom_sr"])
    groups = highdicom.sr.srread(report).content.get_planar_roi_measurement_groups()
    assert len(groups) == 2
    segments = pydicom.dcmread(segmentation)
    for number, group in enumerate(groups, start=1):
        values = {measured.name.meaning: measured.value for measured in group.get_measurements()}
        assert values == {
            "Area": MASKS[number - 1].sum() / 4,
            "Major Axis": 12.5,
            "Minor Axis": 3.25,
            "Certainty of Finding": 91.2345,
        }
        assert group.tracking_uid == segments.SegmentSequence[number - 1].TrackingUID
        (reference,) = group.referenced_segmentation_frame[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == segments.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
        assert group.finding_sites[0].laterality.meaning == "Left"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of Debian's dicom3tools")
@pytest.mark.parametrize("number", [1, 2])
def test_an_outside_check_finds_no_error(number: int, tmp_path: Path) -> None:
    for path in export(tmp_path, ["dicom_seg", "dicom_sr"], MASKS[:number]):
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "Segmentation" in told or "ComprehensiveSR" in told
        assert not [line for line in told.splitlines() if line.startswith("Error")], told


def test_the_same_prediction_has_the_same_identifiers(tmp_path: Path) -> None:
    first, second = (
        [pydicom.dcmread(path).SOPInstanceUID for path in export(tmp_path / name, ["dicom_seg", "dicom_sr"])]
        for name in ("a", "b")
    )
    assert first == second
    assert len(set(first)) == 2


def test_without_lesions_there_is_nothing_to_write(tmp_path: Path) -> None:
    assert export(tmp_path, ["dicom_seg", "dicom_sr"], []) == []


def test_no_message_says_whose_image_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        export(tmp_path, ["dicom_seg", "dicom_sr"])
    printed = capfd.readouterr()
    assert "CompressedSamples" not in printed.out + printed.err  # the patient's name in the test file


def test_a_header_without_what_is_needed_is_told(tmp_path: Path) -> None:
    source = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    del source.StudyInstanceUID
    source.save_as(tmp_path / "b.dcm")
    planned = PlannedImage(
        LoadingTask(0, InputImage(tmp_path / "b.dcm", ("b.dcm",)), "b.dcm", PixelSettings()),
        "",
        "b",
        ExamPlace("study", None, None),
        read_tags(tmp_path / "b.dcm"),
        "ab" * 32,
    )
    lesion = Lesion(0, 0.9, MASKS[0]), {"class": "mass", "score": 0.9, "area": 4}
    with pytest.raises(UserError, match=r"'b\.dcm': no DICOM result can be made of its header"):
        DicomExporter(["dicom_seg"], {"model": "tiny"}, CODES, LIMITS)(planned, tmp_path, [lesion])


@pytest.mark.parametrize(
    ("name", "value"), [("Benign Mass", "4147007"), ("calcification", "129769006"), ("x", "52988006")]
)
def test_classes_have_the_first_code_that_fits(name: str, value: str) -> None:
    assert code_of(name, CODES).value == value
