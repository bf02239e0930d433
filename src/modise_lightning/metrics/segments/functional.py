"""Counts of panoptic quality for one image at many IoU thresholds in one pass over its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from modise_lightning.metrics.segments.matching import Matching, match
from modise_lightning.metrics.segments.pairs import SegmentPairs, segment_pairs
from modise_lightning.structures import PanopticSegmentation


@dataclass(frozen=True)
class PanopticCounts:
    """What panoptic quality is made of, for T thresholds and K classes; sums over images add up.

    Attributes:
        true_positives: (T, K) int64, matched pairs.
        false_positives: (T, K) int64, unmatched predicted segments.
        false_negatives: (T, K) int64, unmatched true segments.
        iou_sum: (T, K) float64, sum of the IoU of the matched pairs.
    """

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    iou_sum: Tensor


def panoptic_counts(
    prediction: PanopticSegmentation,
    truth: PanopticSegmentation,
    *,
    num_categories: int,
    thresholds: Sequence[float],
    matching: Matching,
) -> PanopticCounts:
    """Match the segments of one image and count (Kirillov et al. 2019, section 4).

    Void pixels of the truth are left out of every IoU, those of crowd regions are not; an unmatched
    prediction that is by more than half void, or in a crowd region of its class, is no false positive
    (panopticapi).

    Args:
        prediction: Predicted map and labels.
        truth: True map and labels, of the same size.
        num_categories: K.
        thresholds: T IoU thresholds; a match has a larger IoU.
        matching: How segments are matched where it is not unique; see ``matching.match``.
    """
    pairs = segment_pairs(prediction, truth)
    return count_matches(pairs, num_categories=num_categories, thresholds=thresholds, matching=matching)


def count_matches(
    pairs: SegmentPairs, *, num_categories: int, thresholds: Sequence[float], matching: Matching
) -> PanopticCounts:
    """Match the overlapping segments of one image and count.

    Args:
        pairs: The overlapping pairs of the same class.
        num_categories: K.
        thresholds: T IoU thresholds; a match has a larger IoU.
        matching: How segments are matched where it is not unique; see ``matching.match``.
    """
    matches = match(pairs, thresholds, matching)
    pair_labels = pairs.truth_labels[pairs.truth]
    matched_predictions = _any_of(matches, pairs.prediction, len(pairs.prediction_labels))
    matched_truths = _any_of(matches, pairs.truth, len(pairs.truth_labels))
    return PanopticCounts(
        true_positives=_sum_by(matches.long(), pair_labels, num_categories),
        false_positives=_sum_by(
            (~matched_predictions & pairs.prediction_counts).long(), pairs.prediction_labels, num_categories
        ),
        false_negatives=_sum_by(
            (~matched_truths & pairs.truth_counts).long(), pairs.truth_labels, num_categories
        ),
        iou_sum=_sum_by(matches * pairs.iou, pair_labels, num_categories),
    )


def _sum_by(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum the columns of (T, N) by their group: (T, num_groups)."""
    return values.new_zeros(len(values), num_groups).index_add_(1, groups, values)


def _any_of(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Tell whether any column of each group is true: (T, num_groups)."""
    return _sum_by(values.long(), groups, num_groups) > 0
