"""Panoptic, recognition and segmentation quality at many IoU thresholds over an evaluation set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from modise_lightning.metrics.accumulated.exact_sum import from_parts, to_parts
from modise_lightning.metrics.segments.functional import PanopticCounts, panoptic_counts
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import PanopticSegmentation


class PanopticQualityResult:
    """Panoptic quality of an evaluation set at T thresholds for K classes.

    A class that occurs neither in truth nor in prediction is NaN and no part of a mean; a mean over no class
    is NaN. (No dataclass: torchmetrics would squeeze the tensors in it where T and K are 1.)

    Attributes:
        counts: What it is computed from, summed over the evaluation set.
        panoptic_quality: (T, K) float64, RQ times SQ.
        recognition_quality: (T, K) float64, TP / (TP + FP / 2 + FN / 2).
        segmentation_quality: (T, K) float64, mean IoU of the matched pairs; 0 when there are none.
        mean_panoptic_quality: (T,) float64, mean over the classes that occur.
        mean_recognition_quality: (T,) float64.
        mean_segmentation_quality: (T,) float64.
    """

    def __init__(self, counts: PanopticCounts) -> None:
        """Divide the sums (Kirillov et al. 2019, equation 2)."""
        self.counts = counts
        matched = counts.true_positives.double()
        weight = matched + counts.false_positives / 2 + counts.false_negatives / 2
        segmentation = torch.where(matched > 0, counts.iou_sum / matched, 0.0)
        self.recognition_quality = matched / weight  # 0 / 0 = NaN where the class does not occur
        self.segmentation_quality = torch.where(weight > 0, segmentation, torch.nan)
        self.panoptic_quality = self.recognition_quality * self.segmentation_quality
        self.mean_panoptic_quality = self.panoptic_quality.nanmean(1)
        self.mean_recognition_quality = self.recognition_quality.nanmean(1)
        self.mean_segmentation_quality = self.segmentation_quality.nanmean(1)


class PanopticQualitySweep(Metric):
    """PQ, RQ and SQ (Kirillov et al. 2019) by class at all thresholds, in one pass an image.

    Counts are summed over the whole evaluation set before any ratio is taken. The sums do not depend on the
    order of the images, nor on how they are dealt out to processes, to the last bit.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    iou_parts: Tensor

    def __init__(self, *, num_categories: int, thresholds: Sequence[float], matching: Matching) -> None:
        """Set what is counted.

        Args:
            num_categories: K.
            thresholds: T IoU thresholds in [0, 1); a match has a larger IoU.
            matching: How segments are matched below 0.5, where it is not unique: ``hungarian``, ``greedy`` or
                ``panopticapi``; see ``matching.match``.
        """
        super().__init__()
        self.num_categories = num_categories
        self.thresholds = tuple(thresholds)
        self.matching: Matching = matching
        shape = (len(self.thresholds), num_categories)
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("iou_parts", torch.zeros((3, *shape), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, predictions: Sequence[PanopticSegmentation], targets: Sequence[PanopticSegmentation]
    ) -> None:
        """Count the matches of some images.

        Args:
            predictions: One an image.
            targets: Truth of the same images, each of its prediction's size.

        Raises:
            ValueError: Numbers or sizes differ, or a map holds an id without a label.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            counts = panoptic_counts(
                prediction,
                target,
                num_categories=self.num_categories,
                thresholds=self.thresholds,
                matching=self.matching,
            )
            self.true_positives += counts.true_positives.to(self.device)
            self.false_positives += counts.false_positives.to(self.device)
            self.false_negatives += counts.false_negatives.to(self.device)
            self.iou_parts += to_parts(counts.iou_sum).to(self.device)

    def compute(self) -> PanopticQualityResult:
        """Divide the sums."""
        return PanopticQualityResult(
            PanopticCounts(
                true_positives=self.true_positives.clone(),
                false_positives=self.false_positives.clone(),
                false_negatives=self.false_negatives.clone(),
                iou_sum=from_parts(self.iou_parts),
            )
        )
