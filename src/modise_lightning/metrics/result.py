"""The plain result of an evaluation, which files and tables hold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from modise_lightning.errors import UserError
from modise_lightning.metrics.clinical.result import ClinicalResult


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
        class_agnostic: The same names as above to values at each threshold, with all classes as one: whether
            the masks are there, whatever they are called; None where it was not measured.
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
    class_agnostic: dict[str, list[float]] | None = None

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
        return {
            name: value
            for name, value in values.items()
            if value is not None or name not in ("clinical", "class_agnostic")
        }


def _nan_to_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
