"""The numbers of ``metrics=clinical`` of one evaluation, with a reason for each that has no value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from modise_lightning.metrics.clinical.cases import patients_of
from modise_lightning.metrics.clinical.lesion_statistics import matched_lesions, unit_of_distances
from modise_lightning.metrics.clinical.record_statistics import Measurement, fold_statistics
from modise_lightning.metrics.clinical.strata import Stratum, is_normal, stratify
from modise_lightning.metrics.patients.statistics import measure_once
from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords

# Groups of statistics whose numbers stand in the usual results.
USUAL_GROUPS = ("segments", "instances", "Dice")
_MEDIANS = {"Dice": "dice", "surface Dice": "surface_dice", "boundary IoU": "boundary_iou"}
_DISTANCES = {"95 % Hausdorff distance": "hausdorff_95", "average surface distance": "average_distance"}


@dataclass(frozen=True)
class ClinicalResult:
    """What ``metrics=clinical`` adds to the results of an evaluation.

    Attributes:
        settings: ``ClinicalSettings``, which change the numbers.
        isthing: Whether each class's instances are told apart.
        max_detections: Detections of an image and class that count, by score.
        dice_reduction: ``pooled`` or ``by_image``.
        counts: Images, normal images, patients, lesions, suspicious lesions.
        values: By name; NaN where a number is undefined. Means over classes where there are several.
        undefined: Why, of a name in ``values`` or of a whole group of numbers that is missing.
        strata: Lesions and those found at the best threshold.
    """

    settings: dict[str, Any]
    isthing: list[bool]
    max_detections: int
    dice_reduction: Literal["pooled", "by_image"]
    counts: dict[str, int]
    values: dict[str, float]
    undefined: dict[str, str]
    strata: list[Stratum]


def measure_clinical(
    records: EvaluationRecords,
    how: Measurement,
    *,
    thresholds: Sequence[float],
    curves: Mapping[str, Sequence[float]],
) -> ClinicalResult:
    """Compute them.

    Args:
        records: Of the evaluation, with clinical ones.
        how: What is measured; its threshold is that of borders and strata.
        thresholds: T IoU thresholds, rising.
        curves: Means over the classes at each of them, by name (PQ, RQ, SQ).
    """
    assert how.clinical is not None
    assert how.max_detections is not None
    assert how.dice_reduction is not None
    images = describe_images(records.images, records.clinical)
    fold = fold_statistics(records, how)
    values: dict[str, float] = {}
    undefined = dict(fold.missing)
    for name, curve in curves.items():
        values[f"{name} area over T"] = area_over_thresholds(thresholds, curve)
        if math.isnan(values[f"{name} area over T"]):
            undefined[f"{name} area over T"] = f"{name} is undefined at some of {len(thresholds)} T"
    for group, statistic in fold.statistics.items():
        if group in USUAL_GROUPS:
            continue
        for name, value in measure_once(statistic).items():
            values[name] = value
            if math.isnan(value):
                undefined[name] = fold.why_undefined[group]
    medians, why = _medians(records, how)
    values |= medians
    undefined |= why
    strata, missing = stratify(
        records,
        threshold=how.threshold,
        size_edges_mm=how.clinical.size_edges_mm,
        size_edges_share=how.clinical.size_edges_share,
    )
    undefined |= {f"strata by {by}": reason for by, reason in missing.items()}
    truths = records.instances[records.instances["source"] == "truth"]
    counts = {
        "images": len(images),
        "normal images": int(is_normal(images, records.images["num_truth"].tolist()).sum()),
        "patients": len(set(patients_of(images))),
        "lesions": len(truths),
        "suspicious lesions": int(truths["category"].isin(list(how.clinical.suspicious)).sum()),
    }
    return ClinicalResult(
        settings=how.clinical.to_dict(),
        isthing=list(how.isthing),
        max_detections=how.max_detections,
        dice_reduction=how.dice_reduction,
        counts=counts,
        values=values,
        undefined=undefined,
        strata=strata,
    )


def area_over_thresholds(thresholds: Sequence[float], values: Sequence[float]) -> float:
    """Average a curve over its thresholds by trapezoids: its area divided by their range.

    Args:
        thresholds: Rising.
        values: One a threshold; the area is NaN if any is.
    """
    if len(thresholds) == 1:
        return float(values[0])
    return float(np.trapezoid(values, thresholds)) / (thresholds[-1] - thresholds[0])


def _medians(records: EvaluationRecords, how: Measurement) -> tuple[dict[str, float], dict[str, str]]:
    """Give the medians over all matches, whatever their class."""
    matches, _ = matched_lesions(records, how.category_names, how.threshold, how.matching)
    columns = {f"matched {name}, median": column for name, column in _MEDIANS.items()}
    unit, _ = unit_of_distances(matches, how.threshold)
    if unit is not None:
        columns |= {f"matched {name}, median ({unit})": column for name, column in _DISTANCES.items()}
    values = {name: float(matches[column].median()) for name, column in columns.items()}
    nothing = f"nothing is matched at T {how.threshold:g}"
    return values, {name: nothing for name, value in values.items() if math.isnan(value)}
