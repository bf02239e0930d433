"""Collects the records of an evaluation, over all its processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch.distributed
from numpy.typing import NDArray

from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualityResult
from modise_lightning.metrics.records.clinical_records import ClinicalRecords, description_row
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.counts import count_recorded_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table
from modise_lightning.metrics.records.image_record import RecordedImage, record_image
from modise_lightning.metrics.segments.functional import PanopticCounts
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import ImageRecord, PanopticSegmentation, Prediction


class EvaluationRecorder:
    """Keeps what was found in each image; an image that several processes evaluated counts once."""

    def __init__(
        self,
        *,
        category_names: Sequence[str],
        lowest_threshold: float,
        matching: Matching,
        clinical: ClinicalSettings | None = None,
    ) -> None:
        """Set what is recorded.

        Args:
            category_names: Name of each of the K classes.
            lowest_threshold: The lowest IoU threshold of the evaluation.
            matching: How segments are matched below an IoU of 0.5; see ``matching.match``.
            clinical: What ``metrics=clinical`` keeps beside; None for nothing.
        """
        self.clinical = clinical
        self.category_names = list(category_names)
        self.lowest_threshold = lowest_threshold
        self.matching: Matching = matching
        self._images: list[RecordedImage] = []

    def update(
        self,
        images: Sequence[ImageRecord],
        predictions: Sequence[Prediction],
        targets: Sequence[PanopticSegmentation],
    ) -> None:
        """Record some images.

        Args:
            images: Where they come from.
            predictions: One an image.
            targets: Truth of the same images at the same sizes.

        Raises:
            ValueError: Numbers or sizes differ.
        """
        for image, prediction, target in zip(images, predictions, targets, strict=True):
            self._images.append(record_image(image, prediction, target, self.clinical))

    def compute(self, best_threshold: float) -> EvaluationRecords:
        """Gather the images of all processes, by ``image_id``.

        Args:
            best_threshold: The best IoU threshold of the evaluation, for the counts of each image.
        """
        by_id: dict[int, RecordedImage] = {}
        for recorded in _gather(self._images):
            by_id.setdefault(recorded.image.image_id, recorded)
        images = [by_id[image_id] for image_id in sorted(by_id)]
        instances = make_table("instances", [row for each in images for row in self._segment_rows(each)])
        overlaps = make_table("overlaps", [row for each in images for row in _overlap_rows(each)])
        thresholds = (self.lowest_threshold, best_threshold)
        counts = count_recorded_images(
            instances,
            overlaps,
            image_ids=sorted(by_id),
            category_names=self.category_names,
            thresholds=thresholds,
            matching=self.matching,
        )
        rows = [
            (*_describe(recorded), *at_thresholds, recorded.dice)
            for recorded, at_thresholds in zip(images, _at_thresholds(counts, thresholds), strict=True)
        ]
        clinical = None if self.clinical is None else self._clinical_records(images)
        pixels: list[tuple[object, ...]] = [
            (each.image.image_id, self.category_names[label], shared, size)
            for each in images
            for label, shared, size in each.class_pixels
        ]
        return EvaluationRecords(
            make_table("images", rows),
            instances,
            overlaps,
            make_table("class_pixels", pixels),
            clinical,
            self._annotated_classes(images),
        )

    def _annotated_classes(self, images: Sequence[RecordedImage]) -> pd.DataFrame | None:
        if all(each.annotated is None for each in images):
            return None
        every = range(len(self.category_names))
        rows: list[tuple[object, ...]] = [
            (each.image.image_id, self.category_names[label])
            for each in images
            for label in (every if each.annotated is None else each.annotated)
        ]
        return make_table("annotated_classes", rows)

    def _clinical_records(self, images: Sequence[RecordedImage]) -> ClinicalRecords:
        measured = [(each.image, each.clinical) for each in images if each.clinical is not None]
        return ClinicalRecords.of_rows(
            {
                "image_descriptions": [description_row(image) for image, _ in measured],
                "localisations": [
                    (image.image_id, *row) for image, clinical in measured for row in clinical.localisations
                ],
                "boundaries": [
                    (image.image_id, *row) for image, clinical in measured for row in clinical.boundaries
                ],
            }
        )

    def reset(self) -> None:
        """Forget all images."""
        self._images = []

    def _segment_rows(self, recorded: RecordedImage) -> list[tuple[object, ...]]:
        image_id = recorded.image.image_id
        return [
            (
                image_id,
                segment.source,
                segment.index,
                self.category_names[segment.label],
                segment.score,
                segment.area,
                segment.void_area,
            )
            for segment in recorded.segments
        ]


def _overlap_rows(recorded: RecordedImage) -> list[tuple[object, ...]]:
    image_id = recorded.image.image_id
    return [
        (image_id, overlap.source, overlap.prediction, overlap.truth, overlap.iou)
        for overlap in recorded.overlaps
    ]


def _at_thresholds(counts: NDArray[np.float64], thresholds: tuple[float, float]) -> list[list[float]]:
    """Describe each image at two thresholds, from counts (I, 2, 4, K)."""
    matched, false_positives, false_negatives, iou_sum = torch.from_numpy(counts).flatten(0, 1).unbind(1)
    by_class = PanopticCounts(matched.long(), false_positives.long(), false_negatives.long(), iou_sum)
    quality = PanopticQualityResult(by_class).mean_panoptic_quality.view(counts.shape[:2]).tolist()
    rows: list[list[float]] = []
    for of_image, qualities in zip(counts.sum(-1).tolist(), quality, strict=True):
        values: list[float] = []
        for threshold, (*numbers, total), each in zip(thresholds, of_image, qualities, strict=True):
            mean_iou = total / numbers[0] if numbers[0] else math.nan
            values += [threshold, *map(int, numbers), mean_iou, each]
        rows.append(values)
    return rows


def _describe(recorded: RecordedImage) -> tuple[object, ...]:
    image, sources = recorded.image, [segment.source for segment in recorded.segments]
    return (
        image.image_id,
        image.file_name,
        image.patient_id,
        sources.count("truth"),
        sources.count("panoptic"),
    )


def _gather(images: list[RecordedImage]) -> list[RecordedImage]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return images
    gathered: list[list[RecordedImage]] = [[]] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, images)
    return [recorded for each in gathered for recorded in each]
