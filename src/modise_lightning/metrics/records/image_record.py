"""What is kept of one evaluated image: its segments, their overlaps with the truth, and its Dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modise_lightning.metrics.accumulated.dice import count_pixels
from modise_lightning.metrics.records.clinical_image import ClinicalImage, measure_clinically
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.segments.annotated import only_annotated
from modise_lightning.metrics.segments.pairs import SegmentOverlaps, joint_histogram, own_crowd_area
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

Source = Literal["truth", "instance", "panoptic"]
_PIXELS_AT_ONCE = 2**18  # of a segment, looked up in all masks; a large segment must not unpack them all


@dataclass(frozen=True)
class RecordedSegment:
    """A true segment or a predicted one.

    Attributes:
        source: ``truth``, or the result that it belongs to: ``instance`` or ``panoptic``.
        index: Its position among the image's segments of this source, from 0.
        label: Class index.
        score: In [0, 1]; None for truth.
        area: Pixels, void ones included.
        void_area: Those of them that are void in the truth, which no IoU counts; of a panoptic segment also
            those in a crowd region of its class, which the union of its IoU counts.
    """

    source: Source
    index: int
    label: int
    score: float | None
    area: int
    void_area: int


@dataclass(frozen=True)
class RecordedOverlap:
    """A predicted and a true segment with a common pixel, whatever their classes.

    Attributes:
        source: ``instance`` or ``panoptic``.
        prediction: ``index`` of the predicted segment.
        truth: ``index`` of the true segment.
        iou: Intersection over union without void pixels, in (0, 1].
    """

    source: Source
    prediction: int
    truth: int
    iou: float


@dataclass(frozen=True)
class RecordedImage:
    """Everything that is kept of an image.

    Attributes:
        image: Where it comes from.
        segments: Those with pixels.
        overlaps: Of predicted with true segments.
        dice: Mean over the classes that occur in the image, in truth or prediction; NaN when none does.
        class_pixels: Class, intersection and size of each class that occurs in it, see ``EvaluationRecords``.
        clinical: What ``metrics=clinical`` keeps beside; None with other metrics.
        annotated: Classes that its truth annotates; None: all. Predictions of others are not kept.
    """

    image: ImageRecord
    segments: list[RecordedSegment]
    overlaps: list[RecordedOverlap]
    dice: float
    class_pixels: list[tuple[int, int, int]]
    clinical: ClinicalImage | None = None
    annotated: tuple[int, ...] | None = None


def record_image(
    image: ImageRecord,
    prediction: Prediction,
    target: PanopticSegmentation,
    clinical: ClinicalSettings | None = None,
) -> RecordedImage:
    """Compare all predicted segments of an image with all true ones.

    Args:
        image: Where it comes from.
        prediction: Its prediction.
        target: Its truth, of the same size.
        clinical: How borders are measured; None: they are not, nor anything else of ``metrics=clinical``.

    Raises:
        ValueError: Sizes differ.
    """
    prediction = only_annotated(prediction, target)
    histogram = joint_histogram(prediction.panoptic, target)
    truth_area = histogram[:, 2:].sum(0)
    panoptic = SegmentOverlaps.of(histogram[1:], truth_area, own_crowd_area(prediction.panoptic, target))
    instances = SegmentOverlaps.of(instance_histogram(prediction.instances, target), truth_area)
    both, sizes = count_pixels(prediction.semantic, target)
    no_scores: list[float | None] = [None] * len(truth_area)
    return RecordedImage(
        image=image,
        segments=[
            *_segments("truth", target.labels, no_scores, truth_area, torch.zeros_like(truth_area)),
            *_segments(
                "instance",
                prediction.instances.labels,
                prediction.instances.scores.tolist(),
                instances.area,
                instances.void_area,
            ),
            *_segments(
                "panoptic",
                prediction.panoptic.labels,
                _panoptic_scores(prediction.panoptic),
                panoptic.area,
                panoptic.void_area,
            ),
        ],
        overlaps=[*_overlaps("instance", instances), *_overlaps("panoptic", panoptic)],
        dice=float((2 * both.double() / sizes).nanmean()),
        class_pixels=[
            (label, shared, size)
            for label, (shared, size) in enumerate(zip(both.tolist(), sizes.tolist(), strict=True))
            if size
        ],
        clinical=(
            None
            if clinical is None
            else measure_clinically(image, prediction, target, panoptic, settings=clinical)
        ),
        annotated=(
            None if target.annotated is None else tuple(torch.nonzero(target.annotated).flatten().tolist())
        ),
    )


def instance_histogram(instances: InstanceSegmentation, truth: PanopticSegmentation) -> Tensor:
    """Count the pixels of each mask on each true segment.

    Args:
        instances: N masks, which may overlap.
        truth: M segments in an (H, W) map.

    Returns:
        (N, M + 2) int64 on the CPU: pixels on void, on no segment, and on each true segment.

    Raises:
        ValueError: The sizes differ.
    """
    masks, ids = instances.packed, truth.segment_ids
    if masks.shape[1:] != tuple(ids.shape):
        raise ValueError(
            f"prediction and truth must have one size; they are {masks.shape[1:]} and {tuple(ids.shape)}."
        )
    histogram = ids.new_zeros(len(masks), len(truth.labels) + 2, dtype=torch.int64)
    # Lesions cover little of an image: their pixels are picked out of the masks, instead of whole masks
    # compared with each segment.
    labelled = torch.nonzero(ids.flatten()).flatten()
    ids_there = ids.flatten()[labelled]
    for segment in torch.unique(ids_there).tolist():
        for pixels in torch.split(labelled[ids_there == segment], _PIXELS_AT_ONCE):
            histogram[:, segment + 1] += masks.at(pixels).sum(1, dtype=torch.int64)
    histogram[:, 1] = masks.areas() - histogram.sum(1)
    return histogram.cpu()


def _panoptic_scores(panoptic: PanopticSegmentation) -> list[float | None]:
    scores = panoptic.scores
    return [None] * len(panoptic.labels) if scores is None else list(scores.tolist())


def _segments(
    source: Source, labels: Tensor, scores: list[float | None], area: Tensor, void_area: Tensor
) -> list[RecordedSegment]:
    rows = zip(labels.tolist(), scores, area.tolist(), void_area.tolist(), strict=True)
    return [
        RecordedSegment(source, index, label, score, pixels, void)
        for index, (label, score, pixels, void) in enumerate(rows)
        if pixels
    ]


def _overlaps(source: Source, overlaps: SegmentOverlaps) -> list[RecordedOverlap]:
    rows = zip(overlaps.prediction.tolist(), overlaps.truth.tolist(), overlaps.iou.tolist(), strict=True)
    return [RecordedOverlap(source, prediction, truth, iou) for prediction, truth, iou in rows]
