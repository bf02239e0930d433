"""Overlaps of the predicted and true segments of one image, from one joint histogram of the two maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modise_lightning.structures import PanopticSegmentation

# A prediction with a larger share than this on void counts as nothing when it matches nothing (panopticapi).
MAX_VOID_SHARE = 0.5


@dataclass(frozen=True)
class SegmentPairs:
    """The segments of one image, or of several, and the overlapping pairs of the same class, on the CPU.

    Attributes:
        iou: (P,) float64 intersection over union of each pair, without void pixels; all > 0.
        prediction: (P,) int64 index of the pair's predicted segment.
        truth: (P,) int64 index of the pair's true segment.
        prediction_labels: (N,) int64 classes of the predicted segments.
        truth_labels: (M,) int64 classes of the true segments.
        prediction_counts: (N,) bool, whether an unmatched predicted segment is a false positive: it has
            pixels, and at most half of them are void or in a crowd region of its class.
        truth_counts: (M,) bool, whether an unmatched true segment is a false negative: it has pixels.
        image: (P,) int64 image of each pair, rising; None where all are of one.
    """

    iou: Tensor
    prediction: Tensor
    truth: Tensor
    prediction_labels: Tensor
    truth_labels: Tensor
    prediction_counts: Tensor
    truth_counts: Tensor
    image: Tensor | None = None


@dataclass(frozen=True)
class SegmentOverlaps:
    """The overlaps of one image's predicted and true segments, whatever their classes, on the CPU.

    Attributes:
        iou: (P,) float64 intersection over union of each pair, without void pixels; all > 0.
        prediction: (P,) int64 index of the pair's predicted segment, rising.
        truth: (P,) int64 index of the pair's true segment, rising for each predicted one.
        area: (N,) int64 pixels of each predicted segment, void ones included.
        void_area: (N,) int64 pixels of each predicted segment that are void in the truth, or in a crowd
            region of its class.
        truth_area: (M,) int64 pixels of each true segment.
    """

    iou: Tensor
    prediction: Tensor
    truth: Tensor
    area: Tensor
    void_area: Tensor
    truth_area: Tensor

    @classmethod
    def of(cls, histogram: Tensor, truth_area: Tensor, crowd_area: Tensor | int = 0) -> SegmentOverlaps:
        """Compute the IoU of all pairs with a common pixel.

        Args:
            histogram: (N, M + 2) int64 pixels of each predicted segment on void, on no segment, and on each
                true segment.
            truth_area: (M,) int64.
            crowd_area: (N,) int64 pixels of each predicted segment in a crowd region of its class, which are
                counted on no segment: unlike void they belong to every union.
        """
        area, void, intersection = histogram.sum(1), histogram[:, 0], histogram[:, 2:]
        predicted, true = torch.nonzero(intersection, as_tuple=True)
        overlap = intersection[predicted, true].double()
        union = (area - void)[predicted] + truth_area[true] - overlap
        return cls(overlap / union, predicted, true, area, void + crowd_area, truth_area)

    def of_one_class(self, prediction_labels: Tensor, truth_labels: Tensor) -> SegmentPairs:
        """Keep the pairs whose segments have the same class.

        Args:
            prediction_labels: (N,) int64 classes of the predicted segments.
            truth_labels: (M,) int64 classes of the true segments.
        """
        same = prediction_labels[self.prediction] == truth_labels[self.truth]
        return SegmentPairs(
            iou=self.iou[same],
            prediction=self.prediction[same],
            truth=self.truth[same],
            prediction_labels=prediction_labels,
            truth_labels=truth_labels,
            prediction_counts=(self.area > 0) & (self.void_area <= MAX_VOID_SHARE * self.area),
            truth_counts=self.truth_area > 0,
        )


def joint_histogram(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> Tensor:
    """Count the pixels of each pair of segment ids.

    Args:
        prediction: N segments in an (H, W) map; its void pixels count as "no segment".
        truth: M segments in an (H, W) map; its crowd regions count as "no segment".

    Returns:
        (N + 1, M + 2) int64 on the CPU; row n is predicted id n, column m is true id m - 1 (void first).

    Raises:
        ValueError: The maps differ in size, or hold ids without a label.
    """
    if prediction.segment_ids.shape != truth.segment_ids.shape:
        raise ValueError(
            f"prediction and truth must have one size; they are {tuple(prediction.segment_ids.shape)} "
            f"and {tuple(truth.segment_ids.shape)}."
        )
    has_void = [
        _check_ids(name, segmentation)
        for name, segmentation in (("prediction", prediction), ("truth", truth))
    ]
    # Each pass over the pixels and each array of their number costs about as much as counting them does:
    # void is only treated where there is some.
    ids = prediction.segment_ids.clamp(min=0) if has_void[0] else prediction.segment_ids
    rows, columns = len(prediction.labels) + 1, len(truth.labels) + 1 + has_void[1]
    true_ids = truth.segment_ids
    if truth.crowd is not None:
        true_ids = true_ids.masked_fill(truth.crowd >= 0, 0)
    joint = torch.add(true_ids, ids, alpha=columns)
    if has_void[1]:
        joint += 1
    histogram = torch.bincount(joint.flatten(), minlength=rows * columns).view(rows, columns).cpu()
    return histogram if has_void[1] else torch.nn.functional.pad(histogram, (1, 0))


def _check_ids(name: str, segmentation: PanopticSegmentation) -> bool:
    """Refuse ids without a label; tell whether there is void."""
    lowest, highest = segmentation.segment_ids.aminmax()
    if lowest < -1 or highest > len(segmentation.labels):
        raise ValueError(
            f"segment ids of the {name} must be -1 to {len(segmentation.labels)} (its number of labels); "
            f"they are {int(lowest)} to {int(highest)}."
        )
    return bool(lowest < 0)


def own_crowd_area(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> Tensor | int:
    """Count the pixels of each predicted segment in a crowd region of its own class.

    panopticapi leaves out an unmatched prediction that lies by more than half on void and on such a region.

    Args:
        prediction: N segments in an (H, W) map.
        truth: Of the same size.

    Returns:
        (N,) int64 on the CPU; 0 where the truth has no crowd regions.
    """
    if truth.crowd is None:
        return 0
    inside = (truth.crowd >= 0) & (prediction.segment_ids > 0)
    index = prediction.segment_ids[inside] - 1
    of_its_class = prediction.labels[index] == truth.crowd[inside]
    return torch.bincount(index[of_its_class], minlength=len(prediction.labels)).cpu()


def segment_pairs(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> SegmentPairs:
    """Compute the IoU of all overlapping pairs of the same class (Kirillov et al. 2019, section 4.1).

    Args:
        prediction: N segments in an (H, W) map.
        truth: M segments in an (H, W) map; its void pixels are left out of every IoU, those of its crowd
            regions are not (panopticapi).
    """
    histogram = joint_histogram(prediction, truth)
    overlaps = SegmentOverlaps.of(histogram[1:], histogram[:, 2:].sum(0), own_crowd_area(prediction, truth))
    return overlaps.of_one_class(prediction.labels.cpu(), truth.labels.cpu())
