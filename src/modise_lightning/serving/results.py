"""What the page shows of a predicted exam: pictures, outlines and measurements; and its downloads."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.prediction.folders.folder import Model
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.journal import FinishedImage
from modise_lightning.prediction.lesions import Lesion
from modise_lightning.prediction.planning import PlannedImage
from modise_lightning.prediction.tables.files import csv_text
from modise_lightning.prediction.tables.rows import Finished, lesion_columns, lesion_rows
from modise_lightning.reporting.export import SYNTHETIC_NOTICE
from modise_lightning.reporting.html_report.outlines import outline_path
from modise_lightning.reporting.pictures.text import hex_color
from modise_lightning.structures import Prediction

_LONGEST_MAP_SIDE = 1024  # pixels of a map of the uncertainty, which has no fine detail
_UNCERTAIN = (230, 60, 160)  # RGB: not a colour of a class
NOTICE = "Research software, not a medical device."


@dataclass(frozen=True)
class ExamResult:
    """A predicted exam.

    Attributes:
        folder: Of its pictures.
        model: What predicted it.
        images: In their order, with the lesions that the page may show.
        failures: Why others could not be, a line each.
        notes: What is to be told.
    """

    folder: Path
    model: Model
    images: list[Finished]
    failures: list[str]
    notes: list[str]

    def describe(self) -> dict[str, Any]:
        """Give what the page shows, as values that JSON can hold."""
        return {
            "classes": [
                {"name": each.name, "color": hex_color(each.color)}
                for each in self.model.categories
                if each.isthing
            ],
            "images": [_describe(number, *image) for number, image in enumerate(self.images)],
            "failures": self.failures,
            "notes": self.notes,
        }

    def at(self, score: float) -> list[Finished]:
        """Give the images with the lesions of at least this score."""
        return [(planned, _keep(finished, score)) for planned, finished in self.images]

    def table(self, score: float) -> str:
        """Give the lesions as CSV."""
        return csv_text(lesion_columns(False), list(lesion_rows(self.at(score), False)))

    def document(self, score: float) -> str:
        """Give the lesions as JSON, with masks in COCO's run lengths."""
        images = [
            {
                "image": planned.task.label,
                "exam": planned.place.exam,
                "laterality": planned.place.laterality,
                "view": planned.place.view,
                "height": finished.height,
                "width": finished.width,
                "pixel_spacing_mm": planned.spacing_mm,
                "lesions": finished.lesions,
            }
            for planned, finished in self.at(score)
        ]
        about = {"notice": _notice(self.model), "model": dict(self.model.metadata), "minimum_score": score}
        return json.dumps({**about, "images": images}, indent=1)

    def dicom(
        self, kind: str, score: float, class_codes: Sequence[Mapping[str, str]], limits: ArchiveLimits
    ) -> bytes:
        """Give a ZIP file of DICOM objects.

        Args:
            kind: ``dicom_seg`` or ``dicom_sr``.
            score: Lowest one of the lesions in them.
            class_codes: Coded names of the classes.
            limits: Of archives.

        Raises:
            UserError: No image is DICOM, none has a lesion, or a header lacks what is needed.
        """
        # highdicom is there only where somebody wants it.
        from modise_lightning.prediction.dicom_results.codes import ClassCode
        from modise_lightning.prediction.dicom_results.exporting import DicomExporter

        export = DicomExporter(
            [kind], self.model.metadata, [ClassCode(**each) for each in class_codes], limits
        )
        labels = {each.name: number for number, each in enumerate(self.model.categories)}
        buffer, number = io.BytesIO(), 0
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for planned, finished in self.at(score):
                if planned.tags is None:
                    continue
                lesions = [
                    (Lesion(labels[each["class"]], each["score"], mask_of(each)), each)
                    for each in finished.lesions
                ]
                for path in export(planned, self.folder / "dicom", lesions):
                    archive.write(path, "/".join(filter(None, (planned.folder, path.name))))
                    path.unlink()
                    number += 1
        if not number:
            raise UserError("no image is DICOM and has a lesion of this score: there is nothing to export.")
        return buffer.getvalue()


def _notice(model: Model) -> str:
    return f"{NOTICE} {SYNTHETIC_NOTICE}" if model.is_synthetic else NOTICE


def _keep(finished: FinishedImage, score: float) -> FinishedImage:
    return replace(finished, lesions=[each for each in finished.lesions if each["score"] >= score])


def _describe(number: int, planned: PlannedImage, finished: FinishedImage) -> dict[str, Any]:
    place = planned.place
    lesions = []
    for each in finished.lesions:
        shown = {name: value for name, value in each.items() if name != "segmentation"}
        lesions.append({**shown, "outline": outline_path(mask_of(each), finished.width, finished.height)})
    return {
        "number": number,
        "name": planned.task.label,
        "exam": place.exam,
        "laterality": place.laterality,
        "view": place.view,
        "width": finished.width,
        "height": finished.height,
        "spacing_mm": planned.spacing_mm,
        "is_dicom": planned.tags is not None,
        "lesions": lesions,
    }


def mask_of(lesion: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Give the mask of a measured lesion, (H, W)."""
    decoded: NDArray[np.bool_] = coco_mask.decode(lesion["segmentation"]).astype(bool)
    return decoded


def prominent(lesions: Sequence[dict[str, Any]], overlap: float) -> list[dict[str, Any]]:
    """Leave out masks of which a better one shows the same: greedily, from the highest score down.

    Args:
        lesions: Measured, from the highest score to the lowest.
        overlap: IoU of masks above which the lower score goes, whatever the classes are.
    """
    codes = [each["segmentation"] for each in lesions]
    if not codes:
        return []
    ious = np.asarray(coco_mask.iou(codes, codes, [False] * len(codes)))
    kept: list[int] = []
    for index in range(len(lesions)):
        if all(ious[index, other] <= overlap for other in kept):
            kept.append(index)
    return [lesions[index] for index in kept]


def picture_png(picture: NDArray[np.uint8]) -> bytes:
    """Write an image as the page shows it, (H, W), as PNG."""
    return _png(picture)


def uncertainty_png(prediction: Prediction) -> bytes:
    """Write how undecided it is at each pixel whether any lesion is there, as a PNG over the image.

    The entropy in bits, from 0 (clear) to 1 (opaque), of the semantic map of all things together.
    """
    shown = prediction.semantic.sum(0).clamp(0, 1).float().cpu()
    rest = 1 - shown
    entropy = -(torch.special.xlogy(shown, shown) + torch.special.xlogy(rest, rest)) / np.log(2)
    values = entropy.numpy()
    scale = min(1.0, _LONGEST_MAP_SIDE / max(values.shape))
    size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
    values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    colours = np.empty((*values.shape, 4), dtype=np.uint8)
    colours[..., :3] = _UNCERTAIN[::-1]
    colours[..., 3] = np.rint(values * 255)
    return _png(colours)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    written, data = cv2.imencode(".png", pixels)
    assert written
    return data.tobytes()
