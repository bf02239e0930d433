"""Writes an image's lesions as DICOM objects beside its other files."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.errors import UserError
from modise_lightning.prediction.dicom_results.codes import ClassCode
from modise_lightning.prediction.dicom_results.report import make_report
from modise_lightning.prediction.dicom_results.segmentation import make_segmentation
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.lesions import Lesion
from modise_lightning.prediction.planning import PlannedImage


class DicomExporter:
    """Writes ``<stem>_seg.dcm`` and ``<stem>_sr.dcm``."""

    def __init__(
        self,
        kinds: Collection[str],
        metadata: Mapping[str, Any],
        class_codes: Sequence[ClassCode],
        limits: ArchiveLimits,
    ) -> None:
        """Set what is written.

        Args:
            kinds: ``dicom_seg`` and ``dicom_sr``, or one of them.
            metadata: About the model.
            class_codes: Coded names of the classes; the last one fits all.
            limits: Of archives.
        """
        # It warns of values and logs copies, with names and identifiers of patients in the text.
        warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
        logging.getLogger("highdicom").setLevel(logging.ERROR)
        self.kinds = kinds
        self.metadata = metadata
        self.class_codes = class_codes
        self.limits = limits

    def __call__(
        self, planned: PlannedImage, folder: Path, lesions: list[tuple[Lesion, dict[str, Any]]]
    ) -> list[Path]:
        """Write the objects of an image, and give their paths; without lesions there are none.

        Raises:
            UserError: The source lacks what every DICOM object needs, or has several frames.
        """
        label = planned.task.label
        with planned.task.image.file(self.limits).open("rb") as file:
            source = pydicom.dcmread(file, stop_before_pixels=True)
        if int(source.get("NumberOfFrames", 1) or 1) != 1:
            raise UserError(f"'{label}' has several frames; DICOM results are of images with one.")
        written: list[Path] = []
        if not lesions:
            return written
        try:
            segmentation = make_segmentation(
                source, lesions, metadata=self.metadata, class_codes=self.class_codes, key=planned.key
            )
            if "dicom_seg" in self.kinds:
                written.append(_write(folder / f"{planned.stem}_seg.dcm", segmentation))
            if "dicom_sr" in self.kinds:
                report = make_report(
                    source,
                    segmentation,
                    [measured for _, measured in lesions],
                    laterality=planned.place.laterality,
                    metadata=self.metadata,
                    class_codes=self.class_codes,
                    key=planned.key,
                )
                written.append(_write(folder / f"{planned.stem}_sr.dcm", report))
        except (AttributeError, KeyError, ValueError, TypeError) as error:
            # highdicom raises these where the source lacks an element or has a value that may not be copied.
            reason = " ".join(str(error).split())
            if planned.tags is None or planned.tags.identifies(reason):
                reason = type(error).__name__
            raise UserError(
                f"'{label}': no DICOM result can be made of its header ({reason}); leave dicom_seg and "
                "dicom_sr out of export."
            ) from error
        return written


def _write(path: Path, dataset: Dataset) -> Path:
    data = io.BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    write_bytes_atomically(path, data.getvalue())
    return path
