"""All metrics of the evaluation together, and their plain result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.metrics.accumulated.average_precision import InstanceAveragePrecision
from modise_lightning.metrics.accumulated.dice import SegmentationDice
from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualitySweep
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.metrics.clinical.record_statistics import Measurement
from modise_lightning.metrics.clinical.result import ClinicalResult, measure_clinical
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import PanopticSegmentation, Prediction


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of an evaluation set as plain values in [0, 1]; NaN where a metric is undefined.

    Attributes:
        num_images: Number of images.
        category_names: Name of each of the K classes.
        thresholds: T IoU thresholds.
        best_threshold: The threshold with the highest mean panoptic quality (within a limit).
        panoptic_quality: At each threshold, mean over the classes that occur.
        recognition_quality: Likewise.
        segmentation_quality: Likewise.
        average_precision: At each threshold, mean over the thing classes with truth.
        dice: Mean over the classes that occur.
        panoptic_quality_by_category: For each class name, at each threshold.
        recognition_quality_by_category: Likewise.
        segmentation_quality_by_category: Likewise.
        average_precision_by_category: Likewise.
        dice_by_category: For each class name.
        panoptic_quality_at: Mean panoptic quality at the thresholds that are shown beside the best one, by
            threshold (as text, JSON's keys).
        clinical: What ``metrics=clinical`` adds; None with other metrics.
    """

    num_images: int
    category_names: list[str]
    thresholds: list[float]
    best_threshold: float
    panoptic_quality: list[float]
    recognition_quality: list[float]
    segmentation_quality: list[float]
    average_precision: list[float]
    dice: float
    panoptic_quality_by_category: dict[str, list[float]]
    recognition_quality_by_category: dict[str, list[float]]
    segmentation_quality_by_category: dict[str, list[float]]
    average_precision_by_category: dict[str, list[float]]
    dice_by_category: dict[str, float]
    panoptic_quality_at: dict[str, float] = field(default_factory=dict)
    clinical: ClinicalResult | None = None

    def at(self, threshold: float) -> dict[str, float]:
        """Give the means at one threshold.

        Args:
            threshold: One of ``thresholds``.

        Raises:
            UserError: The threshold was not evaluated.
        """
        for index, value in enumerate(self.thresholds):
            if math.isclose(value, threshold):
                return {
                    "panoptic_quality": self.panoptic_quality[index],
                    "recognition_quality": self.recognition_quality[index],
                    "segmentation_quality": self.segmentation_quality[index],
                    "average_precision": self.average_precision[index],
                    "dice": self.dice,
                }
        raise UserError(
            f"threshold {threshold} was not evaluated; metrics.thresholds holds {self.thresholds}."
        )

    def summary(self) -> dict[str, float]:
        """Give the means at the best threshold, and that threshold."""
        return {**self.at(self.best_threshold), "best_threshold": self.best_threshold}

    def summary_by_category(self) -> dict[str, float]:
        """Give each class's metrics at the best threshold, as ``<metric>/<class>``."""
        index = self.thresholds.index(self.best_threshold)
        curves = {
            "panoptic_quality": self.panoptic_quality_by_category,
            "recognition_quality": self.recognition_quality_by_category,
            "segmentation_quality": self.segmentation_quality_by_category,
            "average_precision": self.average_precision_by_category,
        }
        return {
            **{
                f"{metric}/{name}": curve[index]
                for metric, by_category in curves.items()
                for name, curve in by_category.items()
            },
            **{f"dice/{name}": dice for name, dice in self.dice_by_category.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON can hold; NaN becomes None."""
        values = {name: _nan_to_none(value) for name, value in asdict(self).items()}
        if self.clinical is None:
            del values["clinical"]
        return values


class SegmentationMetrics(nn.Module):
    """Panoptic quality at all thresholds, average precision and Dice of predictions."""

    def __init__(
        self,
        *,
        category_names: Sequence[str],
        isthing: Sequence[bool],
        thresholds: Sequence[float],
        matching: Matching,
        best_threshold_limit: Annotated[float, Field(gt=0, le=1)],
        max_detections: PositiveInt,
        dice_reduction: Literal["pooled", "by_image"],
        fixed_thresholds: Sequence[float] = (),
        clinical: ClinicalSettings | None = None,
    ) -> None:
        """Build the metrics.

        Args:
            category_names: Name of each of the K classes.
            isthing: Whether each class's instances are told apart; average precision leaves out the others.
            thresholds: T IoU thresholds in [0, 1), rising.
            matching: How segments are matched below an IoU of 0.5; see ``matching.match``.
            best_threshold_limit: The best threshold is not above it.
            max_detections: Detections of an image and class that average precision looks at.
            dice_reduction: ``pooled`` over the evaluation set or averaged ``by_image``.
            fixed_thresholds: Panoptic quality at those of them that are evaluated is shown beside the best.
            clinical: What is measured beside, of cases, borders and strata; None for nothing.

        Raises:
            UserError: The thresholds are not rising numbers in [0, 1) with one within the limit.
        """
        super().__init__()
        rising = all(low < high for low, high in pairwise(thresholds))
        if not rising or not thresholds or not 0 <= thresholds[0] <= thresholds[-1] < 1:
            raise UserError(f"metrics.thresholds must be rising numbers in [0, 1); found {list(thresholds)}.")
        if thresholds[0] > best_threshold_limit:
            raise UserError(
                f"metrics.best_threshold_limit is {best_threshold_limit}, below the lowest of "
                f"metrics.thresholds, {thresholds[0]}; raise it or add a lower threshold."
            )
        if len(isthing) != len(category_names):
            raise UserError(
                f"isthing has {len(isthing)} values for {len(category_names)} categories; give one each."
            )
        self.category_names = list(category_names)
        self.thresholds = [float(threshold) for threshold in thresholds]
        self.best_threshold_limit = best_threshold_limit
        self.fixed_thresholds = [
            threshold
            for threshold in self.thresholds
            if any(math.isclose(threshold, fixed) for fixed in fixed_thresholds)
        ]
        self.matching: Matching = matching
        self.isthing = list(isthing)
        self.max_detections = max_detections
        self.dice_reduction: Literal["pooled", "by_image"] = dice_reduction
        self.clinical = clinical
        _check_suspicious(self.category_names, clinical)
        num_categories = len(self.category_names)
        self.panoptic_quality = PanopticQualitySweep(
            num_categories=num_categories, thresholds=self.thresholds, matching=matching
        )
        self.average_precision = InstanceAveragePrecision(
            isthing=isthing, thresholds=self.thresholds, max_detections=max_detections
        )
        self.dice = SegmentationDice(
            num_categories=num_categories,
            reduction=dice_reduction,
        )

    def update(self, predictions: Sequence[Prediction], targets: Sequence[PanopticSegmentation]) -> None:
        """Compare some images with their truth.

        Args:
            predictions: One an image.
            targets: Truth of the same images at the same sizes.

        Raises:
            ValueError: Numbers or sizes differ.
        """
        self.panoptic_quality.update([prediction.panoptic for prediction in predictions], targets)
        self.average_precision.update([prediction.instances for prediction in predictions], targets)
        self.dice.update([prediction.semantic for prediction in predictions], targets)

    def compute(self) -> EvaluationResult:
        """Compute all metrics over the images of all processes."""
        quality = self.panoptic_quality.compute()
        precision = self.average_precision.compute()
        dice = self.dice.compute()
        mean_quality: list[float] = quality.mean_panoptic_quality.tolist()
        return EvaluationResult(
            num_images=precision.num_images,
            category_names=list(self.category_names),
            thresholds=list(self.thresholds),
            best_threshold=best_threshold(mean_quality, self.thresholds, self.best_threshold_limit),
            panoptic_quality=mean_quality,
            recognition_quality=quality.mean_recognition_quality.tolist(),
            segmentation_quality=quality.mean_segmentation_quality.tolist(),
            average_precision=precision.mean.tolist(),
            dice=float(dice.mean),
            panoptic_quality_by_category=self._by_name(quality.panoptic_quality.T),
            recognition_quality_by_category=self._by_name(quality.recognition_quality.T),
            segmentation_quality_by_category=self._by_name(quality.segmentation_quality.T),
            average_precision_by_category=self._by_name(precision.by_category.T),
            dice_by_category=self._by_name(dice.by_category),
            panoptic_quality_at={
                str(threshold): quality
                for threshold, quality in zip(self.thresholds, mean_quality, strict=True)
                if threshold in self.fixed_thresholds
            },
        )

    def reset(self) -> None:
        """Forget all images."""
        self.panoptic_quality.reset()
        self.average_precision.reset()
        self.dice.reset()

    def recorder(self) -> EvaluationRecorder:
        """Build what records single images as these metrics measure them."""
        return EvaluationRecorder(
            category_names=self.category_names,
            lowest_threshold=self.thresholds[0],
            matching=self.matching,
            clinical=self.clinical,
        )

    def with_clinical(self, result: EvaluationResult, records: EvaluationRecords) -> EvaluationResult:
        """Add what ``metrics=clinical`` measures to a result.

        Args:
            result: Of an evaluation.
            records: Of the same one, by ``recorder``.

        Returns:
            The result as it is with other metrics.
        """
        if self.clinical is None:
            return result
        how = Measurement(
            self.category_names,
            self.isthing,
            result.best_threshold,
            self.matching,
            self.max_detections,
            self.dice_reduction,
            self.clinical,
        )
        curves = {
            "PQ": result.panoptic_quality,
            "RQ": result.recognition_quality,
            "SQ": result.segmentation_quality,
        }
        clinical = measure_clinical(records, how, thresholds=result.thresholds, curves=curves)
        return replace(result, clinical=clinical)

    def _by_name(self, values: Tensor) -> dict[str, Any]:
        return dict(zip(self.category_names, values.tolist(), strict=True))


def _check_suspicious(category_names: Sequence[str], clinical: ClinicalSettings | None) -> None:
    unknown = [] if clinical is None else sorted(set(clinical.suspicious) - set(category_names))
    if unknown:
        raise UserError(
            f"metrics.clinical.suspicious: the dataset has no class '{unknown[0]}'; it has "
            f"{', '.join(category_names)}."
        )


def _nan_to_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
