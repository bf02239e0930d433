"""Builds, from the records of a fold, all numbers as functions of how often each patient is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.clinical.cases import case_keys, collect_cases, patients_of
from modise_lightning.metrics.clinical.lesion_statistics import lesion_statistics
from modise_lightning.metrics.clinical.strata import is_normal
from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.metrics.patients.found_targets import FoundTargets
from modise_lightning.metrics.patients.patient_weights import positions_in
from modise_lightning.metrics.patients.ranked_instances import RankedInstances, ScoredDetections
from modise_lightning.metrics.patients.scored_cases import ScoredCases
from modise_lightning.metrics.patients.statistics import (
    AreasOverThresholds,
    PatientStatistic,
    RatioOfSums,
    SegmentCounts,
    sum_by_patient,
)
from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.clinical_settings import CaseLevel, ClinicalSettings
from modise_lightning.metrics.records.counts import count_recorded_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.localisation import HitRule
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import ImageRecord

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Measurement:
    """How a fold's records are turned into numbers.

    Attributes:
        category_names: Name of each of the K classes.
        isthing: Whether each class's instances are told apart.
        threshold: IoU threshold of PQ, AP and the borders.
        matching: How segments are matched below an IoU of 0.5; see ``matching.match``.
        max_detections: Detections of an image and class that count, by score; None where it is not known.
        dice_reduction: ``pooled`` over the evaluation set or averaged ``by_image``; None likewise.
        clinical: Settings of ``metrics=clinical``; None for PQ, AP and Dice only.
        thresholds: IoU thresholds of the areas under curves over them; with fewer than two there are none.
    """

    category_names: Sequence[str]
    isthing: Sequence[bool]
    threshold: float
    matching: Matching
    max_detections: int | None
    dice_reduction: Literal["pooled", "by_image"] | None
    clinical: ClinicalSettings | None = None
    thresholds: Sequence[float] = ()


@dataclass(frozen=True)
class FoldStatistics:
    """The numbers of a fold.

    Attributes:
        image_ids: Its images.
        statistics: By group. All have the same patients.
        why_undefined: By group, why its numbers have no value where they have none.
        missing: By group that cannot be computed at all, why.
    """

    image_ids: list[int]
    statistics: dict[str, PatientStatistic]
    why_undefined: dict[str, str]
    missing: dict[str, str]


def fold_statistics(records: EvaluationRecords, how: Measurement) -> FoldStatistics:
    """Build the statistics of a fold.

    Args:
        records: Of its evaluation.
        how: What is measured.

    Raises:
        UserError: The records hold another category.
    """
    images = describe_images(records.images, records.clinical)
    of_image = patients_of(images)
    built = FoldStatistics(records.images["image_id"].tolist(), {}, {}, {})
    _add_segments(built, records, of_image, how)
    if how.max_detections is None:
        built.missing["AP"] = "the results are of an older version and do not say metrics.max_detections"
    else:
        built.statistics["instances"] = _instances(records, of_image, how)
        built.why_undefined["instances"] = "no class has a true instance"
    if how.dice_reduction is None:
        built.missing["Dice"] = "the results are of an older version and do not say metrics.dice_reduction"
    elif records.class_pixels is None:
        built.missing["Dice"] = "the records are of an older version, without its pixels: evaluate again"
    else:
        built.statistics["Dice"] = _dice(records.class_pixels, images, of_image, how)
        built.why_undefined["Dice"] = "no class occurs, neither in truth nor in prediction"
    if records.clinical is None:
        if how.clinical is not None:
            built.missing["borders"] = "the records do not hold them: evaluate with metrics=clinical"
    else:
        lesions, missing = lesion_statistics(
            records, of_image, how.category_names, how.threshold, how.matching
        )
        built.missing.update(missing)
        for group, statistic in lesions.items():
            built.statistics[group] = statistic
            built.why_undefined[group] = f"nothing is matched at T {how.threshold:g}"
    if how.clinical is not None:
        _add_all_cases(built, records, images, how.clinical)
        for rule in how.clinical.hit_rules:
            _add_froc(built, records, images, of_image, rule, how, how.clinical)
    return built


def case_statistics(records: EvaluationRecords, settings: ClinicalSettings) -> FoldStatistics:
    """Build the statistics of the cases alone.

    Args:
        records: Of an evaluation.
        settings: What a case is.
    """
    built = FoldStatistics(records.images["image_id"].tolist(), {}, {}, {})
    _add_all_cases(built, records, describe_images(records.images, records.clinical), settings)
    return built


def _add_segments(
    built: FoldStatistics, records: EvaluationRecords, of_image: Sequence[str], how: Measurement
) -> None:
    """Add PQ, RQ and SQ at the threshold, and the areas under their curves."""
    by_image = count_recorded_images(
        records.instances,
        records.overlaps,
        image_ids=built.image_ids,
        category_names=how.category_names,
        thresholds=[how.threshold, *how.thresholds],
        matching=how.matching,
    )
    patients, counts = sum_by_patient(of_image, by_image)
    built.statistics["segments"] = SegmentCounts(patients, counts[:, 0])
    built.why_undefined["segments"] = "no class occurs, neither in truth nor in prediction"
    if len(how.thresholds) > 1:
        built.statistics["areas"] = AreasOverThresholds(patients, tuple(how.thresholds), counts[:, 1:])
        built.why_undefined["areas"] = built.why_undefined["segments"]


def _instances(records: EvaluationRecords, of_image: Sequence[str], how: Measurement) -> RankedInstances:
    detections = _detections(records, how, "mask_iou")
    patients = tuple(sorted(set(of_image)))
    of_image_position = positions_in(patients, of_image)
    correct = detections.match(how.threshold)
    classes: list[ScoredDetections | None] = []
    for label, thing in enumerate(how.isthing):
        own, truths = detections.labels == label, detections.truth_labels == label
        lesions = np.bincount(of_image_position[detections.truth_images[truths]], minlength=len(patients))
        classes.append(
            ScoredDetections(
                detections.scores[own],
                correct[own],
                of_image_position[detections.images[own]],
                lesions.astype(np.float64),
            )
            if thing
            else None
        )
    return RankedInstances(patients, tuple(classes))


def _dice(
    pixels: pd.DataFrame, images: Sequence[ImageRecord], of_image: Sequence[str], how: Measurement
) -> RatioOfSums:
    position = pd.Index([image.image_id for image in images])
    row = position.get_indexer(pd.Index(pixels["image_id"]))
    label = pd.Index(how.category_names).get_indexer(pd.Index(pixels["category"]))
    if (label < 0).any():
        raise UserError(f"class_pixels holds a category that is none of {list(how.category_names)}.")
    size = pixels["size"].to_numpy(np.float64)
    shared = 2 * pixels["intersection"].to_numpy(np.float64)
    pooled = how.dice_reduction == "pooled"
    sums = np.zeros((len(images), 2, len(how.category_names)))
    sums[row, 0, label] = shared if pooled else shared / size
    sums[row, 1, label] = size if pooled else 1
    patients, of_patient = sum_by_patient(of_image, sums)
    return RatioOfSums("Dice", patients, of_patient[:, 0], of_patient[:, 1])


def _add_all_cases(
    built: FoldStatistics,
    records: EvaluationRecords,
    images: Sequence[ImageRecord],
    settings: ClinicalSettings,
) -> None:
    of_image = patients_of(images)
    for level in settings.case_levels:
        _add_cases(built, records, images, of_image, level, settings)


def _add_cases(
    built: FoldStatistics,
    records: EvaluationRecords,
    images: Sequence[ImageRecord],
    of_image: Sequence[str],
    level: CaseLevel,
    settings: ClinicalSettings,
) -> None:
    try:
        cases = collect_cases(records, images, level=level, suspicious=settings.suspicious)
    except UserError as error:
        built.missing[level] = str(error).rstrip(".")
        return
    patients = tuple(sorted(set(of_image)))
    built.statistics[level] = ScoredCases(
        level,
        patients,
        positions_in(patients, cases.patients.tolist()),
        cases.scores,
        cases.positive,
        settings.low_rate,
        settings.high_sensitivity,
        tuple(settings.specificities),
    )
    built.why_undefined[level] = (
        f"none of {len(cases.positive)} cases ({level}) has a suspicious lesion"
        if not cases.positive.any()
        else f"each of {len(cases.positive)} cases ({level}) has a suspicious lesion, and none is without"
    )


def _add_froc(
    built: FoldStatistics,
    records: EvaluationRecords,
    images: Sequence[ImageRecord],
    of_image: Sequence[str],
    rule: HitRule,
    how: Measurement,
    settings: ClinicalSettings,
) -> None:
    """Add FROC by lesion, per image and per normal image, and for the first rule by case."""
    try:
        detections = _detections(records, how, rule)
    except UserError as error:
        built.missing[f"FROC {rule}"] = str(error).rstrip(".")
        return
    names = list(settings.suspicious) or list(how.category_names)
    counted = np.isin(np.arange(len(how.category_names)), [how.category_names.index(name) for name in names])
    shown, lesions = counted[detections.labels], counted[detections.truth_labels]
    hit = (detections.pair_iou >= settings.hit_threshold) & shown[detections.pair_detection]
    hit &= lesions[detections.pair_truth]
    false = shown.copy()
    false[detections.pair_detection[hit]] = False
    found_at = np.full(len(lesions), -np.inf)
    np.maximum.at(found_at, detections.pair_truth[hit], detections.scores[detections.pair_detection[hit]])
    patients = tuple(sorted(set(of_image)))
    patient = positions_in(patients, of_image)
    normal = is_normal(images, records.images["num_truth"].tolist())
    everywhere = np.ones(len(images), dtype=np.bool_)
    no_lesion = f"no image has a true segment of {', '.join(names)}"
    targets = [("", detections.truth_images[lesions], found_at[lesions], no_lesion)]
    if rule == settings.hit_rules[0]:
        for level in settings.case_levels:
            try:
                case = _case_of_image(images, level)
            except UserError:  # told with the level's own numbers
                continue
            of_lesion = case[detections.truth_images[lesions]]
            positive = np.unique(of_lesion)
            case_found = np.full(int(case.max(initial=-1)) + 1, -np.inf)
            np.maximum.at(case_found, of_lesion, found_at[lesions])
            first_image = np.unique(case, return_index=True)[1]
            targets.append((f" by {level}", first_image[positive], case_found[positive], no_lesion))
    for suffix, target_image, target_found, reason in targets:
        for unit, kept in (("image", everywhere), ("normal image", normal)):
            chosen = false & kept[detections.images]
            name = f"FROC {rule}{suffix} per {unit}"
            built.statistics[name] = FoundTargets(
                name,
                patients,
                tuple(settings.false_positive_rates),
                patient[target_image],
                target_found,
                patient[detections.images[chosen]],
                detections.scores[chosen],
                np.bincount(patient[kept], minlength=len(patients)).astype(np.float64),
            )
            built.why_undefined[name] = reason if kept.any() else "no image is normal"


def _case_of_image(images: Sequence[ImageRecord], level: CaseLevel) -> Positions:
    keys = case_keys(images, level)
    position = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([position[key] for key in keys], dtype=np.int64)


def _detections(records: EvaluationRecords, how: Measurement, rule: HitRule) -> Detections:
    assert how.max_detections is not None
    return Detections.of(
        records,
        category_names=how.category_names,
        isthing=how.isthing,
        source="instance",
        max_detections=how.max_detections,
        rule=rule,
    )
