"""Panoptic, recognition and segmentation quality at many IoU thresholds over an evaluation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from modise_lightning.metrics.functional import panoptic_counts
from modise_lightning.metrics.matching import Matching
from modise_lightning.structures import PanopticSegmentation


@dataclass(frozen=True)
class PanopticQualityResult:
    """Panoptic quality of an evaluation set at T thresholds for K classes.

    A class that occurs neither in truth nor in prediction is NaN and no part of a mean; a mean over no class
    is NaN.

    Attributes:
        panoptic_quality: (T, K) float64, RQ times SQ.
        recognition_quality: (T, K) float64, TP / (TP + FP / 2 + FN / 2).
        segmentation_quality: (T, K) float64, mean IoU of the matched pairs; 0 when there are none.
        true_positives: (T, K) int64.
        false_positives: (T, K) int64.
        false_negatives: (T, K) int64.
        iou_sum: (T, K) float64.
        mean_panoptic_quality: (T,) float64, mean over the classes that occur.
        mean_recognition_quality: (T,) float64.
        mean_segmentation_quality: (T,) float64.
    """

    panoptic_quality: Tensor
    recognition_quality: Tensor
    segmentation_quality: Tensor
    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    iou_sum: Tensor
    mean_panoptic_quality: Tensor
    mean_recognition_quality: Tensor
    mean_segmentation_quality: Tensor


class PanopticQualitySweep(Metric):
    """PQ, RQ and SQ (Kirillov et al. 2019) by class at all thresholds, in one pass an image.

    Counts are summed over the whole evaluation set before any ratio is taken; processes reduce exactly.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    iou_sum: Tensor

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
        self.add_state("iou_sum", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

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
            self.iou_sum += counts.iou_sum.to(self.device)

    def compute(self) -> PanopticQualityResult:
        """Divide the sums."""
        matched, iou_sum = self.true_positives.double(), self.iou_sum
        weight = matched + self.false_positives / 2 + self.false_negatives / 2
        recognition = matched / weight  # 0 / 0 = NaN: the class does not occur
        segmentation = torch.where(matched > 0, iou_sum / matched, 0.0)
        segmentation = torch.where(weight > 0, segmentation, torch.nan)
        quality = recognition * segmentation
        return PanopticQualityResult(
            panoptic_quality=quality,
            recognition_quality=recognition,
            segmentation_quality=segmentation,
            true_positives=self.true_positives.clone(),
            false_positives=self.false_positives.clone(),
            false_negatives=self.false_negatives.clone(),
            iou_sum=iou_sum.clone(),
            mean_panoptic_quality=quality.nanmean(1),
            mean_recognition_quality=recognition.nanmean(1),
            mean_segmentation_quality=segmentation.nanmean(1),
        )
