"""What ``metrics=clinical`` measures of one image, from its pixels: borders, places, pixels of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.segments.boundaries import (
    ContourDistances,
    boundary_iou,
    bounding_box,
    strip_width,
)
from modise_lightning.metrics.segments.localisation import Places, box_iou, centres_inside
from modise_lightning.metrics.segments.pairs import SegmentOverlaps
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

_HAUSDORFF_SHARE = 0.95


@dataclass(frozen=True)
class ClinicalImage:
    """Rows of an image, without its id and with class indices for names; see ``ClinicalRecords``.

    Attributes:
        localisations: Predicted index, true index, box IoU, whether the centre is inside.
        boundaries: Predicted index, true index, surface Dice, Hausdorff and average distance, boundary IoU,
            unit.
    """

    localisations: list[tuple[int, int, float, int]]
    boundaries: list[tuple[int, int, float, float, float, float, str]]


def measure_clinically(
    image: ImageRecord,
    prediction: Prediction,
    target: PanopticSegmentation,
    overlaps: SegmentOverlaps,
    *,
    settings: ClinicalSettings,
) -> ClinicalImage:
    """Measure an image.

    Args:
        image: What is known of it; distances are in millimetres if that is the pixels' spacing.
        prediction: Its prediction.
        target: Its truth, of the same size.
        overlaps: Of its panoptic with its true segments.
        settings: Tolerances and widths.
    """
    true_ids = target.segment_ids.cpu().numpy()
    return ClinicalImage(
        localisations=_localisations(prediction.instances, target, true_ids),
        boundaries=_boundaries(image, prediction.panoptic, target, true_ids, overlaps, settings),
    )


def _localisations(
    instances: InstanceSegmentation, target: PanopticSegmentation, true_ids: NDArray[np.int64]
) -> list[tuple[int, int, float, int]]:
    void = target.segment_ids < 0
    packed = instances.packed.intersect(~void) if bool(void.any()) else instances.packed
    places = Places.of(packed)
    truths = np.zeros((len(target.labels), 4), dtype=np.int64)
    for index, box in enumerate(find_objects(np.maximum(true_ids, 0), max_label=len(target.labels))):
        if box is not None:
            truths[index] = box[0].start, box[1].start, box[0].stop, box[1].stop
    overlap, inside = box_iou(places.boxes, truths), centres_inside(places.centres, true_ids)
    return [
        (int(predicted), int(true), float(overlap[predicted, true]), int(inside[predicted] == true))
        for predicted, true in np.argwhere(overlap > 0)
    ]


def _boundaries(
    image: ImageRecord,
    panoptic: PanopticSegmentation,
    target: PanopticSegmentation,
    true_ids: NDArray[np.int64],
    overlaps: SegmentOverlaps,
    settings: ClinicalSettings,
) -> list[tuple[int, int, float, float, float, float, str]]:
    labels, true_labels = panoptic.labels.cpu(), target.labels.cpu()
    same = labels[overlaps.prediction] == true_labels[overlaps.truth]
    if not bool(torch.any(same)):
        return []
    spacing, unit = (image.spacing_mm, "mm") if image.spacing_mm is not None else ((1.0, 1.0), "pixels")
    tolerance = settings.surface_tolerance_mm if unit == "mm" else settings.surface_tolerance_pixels
    width = strip_width(true_ids.shape[0], true_ids.shape[1], settings.strip_share)
    predicted_ids = np.where(true_ids < 0, 0, panoptic.segment_ids.cpu().numpy())
    rows = []
    pairs = zip(overlaps.prediction[same].tolist(), overlaps.truth[same].tolist(), strict=True)
    for predicted, true in pairs:
        own, its = predicted_ids == predicted + 1, true_ids == true + 1
        window = bounding_box(own | its)
        own, its = own[window], its[window]
        distances = ContourDistances.between(own, its, spacing)
        rows.append(
            (
                predicted,
                true,
                distances.surface_dice(tolerance),
                distances.hausdorff(_HAUSDORFF_SHARE),
                distances.average(),
                boundary_iou(own, its, width),
                unit,
            )
        )
    return rows
