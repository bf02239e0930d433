"""Checks that the results in a file fit together: a value for each class and threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from modise_lightning.metrics.clinical.result import ClinicalResult
from modise_lightning.metrics.result import EvaluationResult

_CURVES = ("panoptic_quality", "recognition_quality", "segmentation_quality", "average_precision")


def check_result(result: EvaluationResult) -> None:
    """Check a result that was read from a file.

    Args:
        result: Of the right types.

    Raises:
        ValueError: Says which entry is wrong.
    """
    names, thresholds = result.category_names, result.thresholds
    if not names or len(set(names)) != len(names):
        raise ValueError("category_names: expected names that differ, at least one")
    rising = all(low < high for low, high in pairwise(thresholds))
    if not thresholds or not rising or not 0 <= thresholds[0] <= thresholds[-1] < 1:
        raise ValueError("thresholds: expected rising numbers in [0, 1)")
    if result.best_threshold not in thresholds:
        raise ValueError(f"best_threshold: {result.best_threshold} is none of thresholds")
    if result.num_images < 0:
        raise ValueError("num_images: expected a number that is not negative")
    for key, value in result.panoptic_quality_at.items():
        shown = [
            quality for t, quality in zip(thresholds, result.panoptic_quality, strict=False) if str(t) == key
        ]
        if not shown:
            raise ValueError(f"panoptic_quality_at: {key!r} is none of thresholds")
        if not (value == shown[0] or (math.isnan(value) and math.isnan(shown[0]))):
            raise ValueError(
                f"panoptic_quality_at.{key}: {value} is not the panoptic_quality there, {shown[0]}"
            )
    _check_values("dice", [result.dice], 1)
    for curve in _CURVES:
        _check_values(curve, getattr(result, curve), len(thresholds))
        by_category = getattr(result, f"{curve}_by_category")
        _check_names(f"{curve}_by_category", by_category, names)
        for name, values in by_category.items():
            _check_values(f"{curve}_by_category.{name}", values, len(thresholds))
    if result.class_agnostic is not None:
        _check_names("class_agnostic", result.class_agnostic, _CURVES)
        for name, values in result.class_agnostic.items():
            _check_values(f"class_agnostic.{name}", values, len(thresholds))
    if result.clinical is not None:
        _check_clinical(result.clinical, names)
    _check_names("dice_by_category", result.dice_by_category, names)
    for name, value in result.dice_by_category.items():
        _check_values(f"dice_by_category.{name}", [value], 1)


def _check_clinical(clinical: ClinicalResult, names: Sequence[str]) -> None:
    if len(clinical.isthing) != len(names):
        raise ValueError(f"clinical.isthing: {len(clinical.isthing)} values for {len(names)} classes")
    for name, value in clinical.values.items():
        _check_values(f"clinical.values.{name}", [value], 1)
        if math.isnan(value) and name not in clinical.undefined:
            raise ValueError(f"clinical.values.{name}: has no value, and clinical.undefined does not say why")
    for stratum in clinical.strata:
        if not 0 <= stratum.found <= stratum.lesions or not 0 <= stratum.iou_sum <= stratum.found:
            raise ValueError(f"clinical.strata: {stratum.by} {stratum.level} has impossible counts")


def _check_names(where: str, values: Mapping[str, object], names: Sequence[str]) -> None:
    differing = sorted(set(values) ^ set(names))
    if differing:
        what = "lacks" if differing[0] in names else "has a value of the unknown class"
        raise ValueError(f"{where}: {what} {differing[0]!r}")


def _check_values(where: str, values: Sequence[float], number: int) -> None:
    if len(values) != number:
        raise ValueError(f"{where}: {len(values)} values for {number} thresholds")
    for value in values:
        if not math.isnan(value) and not 0 <= value < math.inf:
            raise ValueError(f"{where}: expected numbers that are finite and not negative, found {value}")
