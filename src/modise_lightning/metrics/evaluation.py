"""All metrics of the evaluation together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from modise_lightning.errors import UserError
from modise_lightning.metrics.accumulated.average_precision import (
    AveragePrecisionResult,
    InstanceAveragePrecision,
)
from modise_lightning.metrics.accumulated.dice import SegmentationDice
from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualitySweep
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.metrics.clinical.record_statistics import Measurement
from modise_lightning.metrics.clinical.result import measure_clinical
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.metrics.segments.annotated import only_annotated
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import PanopticSegmentation, Prediction


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
        class_agnostic: bool = False,
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
            class_agnostic: Whether panoptic quality and average precision are also measured with all classes
                as one.

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
            isthing=isthing,
            thresholds=self.thresholds,
            max_detections=max_detections,
            class_agnostic=class_agnostic,
        )
        self.any_class_quality = (
            PanopticQualitySweep(num_categories=1, thresholds=self.thresholds, matching=matching)
            if class_agnostic
            else None
        )
        self.dice = SegmentationDice(
            num_categories=num_categories,
            reduction=dice_reduction,
        )

    def update(
        self,
        predictions: Sequence[Prediction],
        targets: Sequence[PanopticSegmentation],
        image_ids: Sequence[int] | None = None,
    ) -> None:
        """Compare some images with their truth.

        Args:
            predictions: One an image.
            targets: Truth of the same images at the same sizes. What is predicted of classes that it does
                not annotate does not count.
            image_ids: Their numbers, by which average precision takes equal scores of different images;
                None: as they come.

        Raises:
            ValueError: Numbers or sizes differ.
        """
        predictions = [only_annotated(*pair) for pair in zip(predictions, targets, strict=True)]
        panoptic = [prediction.panoptic for prediction in predictions]
        self.panoptic_quality.update(panoptic, targets)
        if self.any_class_quality is not None:
            self.any_class_quality.update(
                [each.of_one_class() for each in panoptic], [each.of_one_class() for each in targets]
            )
        instances = [prediction.instances for prediction in predictions]
        self.average_precision.update(instances, targets, image_ids)
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
            class_agnostic=self._class_agnostic(precision),
        )

    def _class_agnostic(self, precision: AveragePrecisionResult) -> dict[str, list[float]] | None:
        if self.any_class_quality is None or precision.class_agnostic is None:
            return None
        quality = self.any_class_quality.compute()
        return {
            "panoptic_quality": quality.mean_panoptic_quality.tolist(),
            "recognition_quality": quality.mean_recognition_quality.tolist(),
            "segmentation_quality": quality.mean_segmentation_quality.tolist(),
            "average_precision": precision.class_agnostic.tolist(),
        }

    def reset(self) -> None:
        """Forget all images."""
        self.panoptic_quality.reset()
        self.average_precision.reset()
        self.dice.reset()
        if self.any_class_quality is not None:
            self.any_class_quality.reset()

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
