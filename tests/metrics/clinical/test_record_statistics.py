"""Numbers of records: those of the metrics, plain loops over lesions and cases, and cases by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from clinical_images import ISTHING, NAMES, SETTINGS, make_images, record
from modise_lightning.metrics.clinical.cases import collect_cases
from modise_lightning.metrics.clinical.lesion_statistics import matched_lesions
from modise_lightning.metrics.clinical.record_statistics import FoldStatistics, Measurement, fold_statistics
from modise_lightning.metrics.clinical.result import area_over_thresholds, measure_clinical
from modise_lightning.metrics.clinical.strata import Stratum, pool_strata, stratify
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.patients.statistics import defined_mean
from modise_lightning.metrics.records.clinical_records import ClinicalRecords, description_row
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import ImageRecord
from simulated_records import simulate

SEEDS = st.integers(0, 2**32 - 20)
T = 0.3


def how(**changes: Any) -> Measurement:
    values = {"category_names": NAMES, "isthing": ISTHING, "threshold": T, "matching": "hungarian"}
    values |= {"max_detections": 100, "dice_reduction": "pooled", "clinical": SETTINGS, **changes}
    return Measurement(**values)  # type: ignore[arg-type]


def numbers(fold: FoldStatistics) -> dict[str, float]:
    """All numbers of a fold, each patient drawn once, averaged over the classes."""
    found = {}
    for statistic in fold.statistics.values():
        once = np.ones((1, len(statistic.patients)))
        found |= {name: float(defined_mean(value, 1)[0]) for name, value in statistic.measure(once).items()}
    return found


@given(
    seed=SEEDS,
    matching=st.sampled_from(["panopticapi", "hungarian", "greedy"]),
    reduction=st.sampled_from(["pooled", "by_image"]),
    scores_tie=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_usual_numbers_are_those_of_the_metrics(
    make_pair: Callable[..., Any], seed: int, matching: Matching, reduction: Any, scores_tie: bool
) -> None:
    """Whatever the order in which images are evaluated: equal scores go by the images' numbers."""
    images = make_images(make_pair, seed, num_images=5)
    if scores_tie:
        for _, prediction, _ in images:
            prediction.instances.scores = torch.full_like(prediction.instances.scores, 0.5)
    metrics = SegmentationMetrics(
        category_names=NAMES,
        isthing=ISTHING,
        thresholds=[0.1, T, 0.6],
        matching=matching,
        best_threshold_limit=0.9,
        max_detections=100,
        dice_reduction=reduction,
    )
    for image, prediction, target in np.random.default_rng(seed).permutation(np.array(images, object)):
        metrics.update([prediction], [target], [image.image_id])
    expected = metrics.compute().at(T)
    found = numbers(
        fold_statistics(record(images, matching=matching), how(matching=matching, dice_reduction=reduction))
    )
    for short, name in {
        "PQ": "panoptic_quality",
        "RQ": "recognition_quality",
        "SQ": "segmentation_quality",
        "AP": "average_precision",
        "Dice": "dice",
    }.items():
        assert found[short] == pytest.approx(expected[name], nan_ok=True)


def agreement(rule: str, own: np.ndarray, its: np.ndarray) -> bool:
    if not own.any() or not its.any():
        return False
    if rule == "any_overlap":
        return bool((own & its).any())
    if rule == "mask_iou":
        return bool((own & its).sum() / (own | its).sum() >= SETTINGS.hit_threshold)
    if rule == "centre":
        row, column = (math.ceil(each.mean() - 0.5) for each in np.nonzero(own))
        return bool(its[row, column])
    filled = []
    for each in (own, its):
        rows, columns = np.nonzero(each)
        box = np.zeros_like(each)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        filled.append(box)
    return bool((filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum() >= SETTINGS.hit_threshold)


def froc_by_loop(
    images: Any, rule: str, case: Callable[[ImageRecord], Any] | None, normal: bool, rate: float
) -> float:
    """Try every cut; count suspicious lesions, or cases with one, that are hit, and false positives."""
    exposed = [image for image, _, target in images if not normal or not (target.areas() > 0).any()]
    if not exposed:
        return math.nan
    best = math.nan
    for cut in [2.0, *(each / 8 for each in range(1, 8))]:
        false, found, targets = 0, set(), set()
        for image, prediction, target in images:
            void = (target.segment_ids < 0).numpy()
            lesions = {
                index: mask.numpy()
                for index, mask in enumerate(target.masks)
                if target.labels[index] == 1 and mask.any()
            }
            key = (image.image_id,) if case is None else case(image)
            targets |= {(key, index if case is None else 0) for index in lesions}
            instances = prediction.instances
            for mask, label, score in zip(
                instances.masks.numpy(), instances.labels, instances.scores, strict=True
            ):
                if label != 1 or score < cut or not mask.any() or (mask & void).sum() > mask.sum() / 2:
                    continue
                hits = [index for index, its in lesions.items() if agreement(rule, mask & ~void, its)]
                found |= {(key, index if case is None else 0) for index in hits}
                false += not hits and image in exposed
        if false / len(exposed) <= rate and targets:
            best = max(0.0 if math.isnan(best) else best, len(found) / len(targets))
    return best


@pytest.mark.parametrize("rule", SETTINGS.hit_rules)
@pytest.mark.parametrize("seed", [0, 11, 22])
def test_froc_by_loop(make_pair: Callable[..., Any], rule: str, seed: int) -> None:
    images = make_images(make_pair, seed, num_images=6)
    found = numbers(fold_statistics(record(images), how()))
    cases: dict[str, Callable[[ImageRecord], Any] | None] = {"": None}
    if rule == "mask_iou":
        cases[" by breast"] = lambda image: (image.patient_id, image.laterality)
        cases[" by patient"] = lambda image: image.patient_id
    for (suffix, case), normal, rate in product(cases.items(), [False, True], [0.5, 1, 4]):
        unit = "normal image" if normal else "image"
        expected = froc_by_loop(images, rule, case, normal, rate)
        assert found[f"FROC {rule}{suffix} per {unit} at {rate:g}"] == pytest.approx(expected, nan_ok=True)


def test_the_loop_sees_normal_images_and_every_kind_of_hit(make_pair: Callable[..., Any]) -> None:
    """Otherwise the comparisons above would say little."""
    seen = set()
    for seed in (0, 11, 22):
        images = make_images(make_pair, seed, num_images=6)
        seen |= {("normal", not (target.areas() > 0).any()) for _, _, target in images}
        for rule in SETTINGS.hit_rules:
            seen.add((rule, froc_by_loop(images, rule, None, False, 4) > 0))
    assert {("normal", True), ("normal", False), *((rule, True) for rule in SETTINGS.hit_rules)} <= seen


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_lesion_wise_means_by_loop(make_pair: Callable[..., Any], seed: int) -> None:
    images = make_images(make_pair, seed)
    records = record(images)
    matches, lesions = matched_lesions(records, NAMES, T, "panopticapi")
    found = numbers(fold_statistics(records, how(matching="panopticapi")))
    by_class: dict[int, list[float]] = {label: [] for label in range(3)}
    number = np.zeros(3)
    for image, prediction, target in images:
        own = matches[matches["image_id"] == image.image_id]
        void = target.segment_ids < 0
        for row in own.itertuples():
            a = prediction.panoptic.masks[row.predicted_index] & ~void
            b = target.masks[row.true_index]
            by_class[int(row.label)].append(float(2 * (a & b).sum() / (a.sum() + b.sum())))
        areas, voids = (
            prediction.panoptic.areas(),
            torch.stack([*(m & void for m in prediction.panoptic.masks), void])[:-1].flatten(1).sum(1),
        )
        taken = set(own["predicted_index"])
        for index, label in enumerate(prediction.panoptic.labels.tolist()):
            number[label] += index in taken or bool(areas[index] > 0 and voids[index] <= areas[index] / 2)
        for index, label in enumerate(target.labels.tolist()):
            number[label] += bool(target.areas()[index] > 0) and index not in set(own["true_index"])
    np.testing.assert_array_equal(lesions.sum(0), number)
    with_misses = [sum(by_class[label]) / number[label] for label in range(3) if number[label]]
    matched = [float(np.mean(values)) for values in by_class.values() if values]
    assert found["lesion-wise Dice"] == pytest.approx(
        np.mean(with_misses) if with_misses else math.nan, nan_ok=True
    )
    assert found["matched Dice"] == pytest.approx(np.mean(matched) if matched else math.nan, nan_ok=True)


def hand_records(segments: list[Any], overlaps: list[Any], images: list[ImageRecord]) -> EvaluationRecords:
    boundaries = [
        (each[0], each[2], each[3], 0.5, 2.0, 1.0, 0.25, "pixels")
        for each in overlaps
        if each[1] == "panoptic"
    ]
    clinical = ClinicalRecords.of_rows(
        {
            "image_descriptions": [description_row(image) for image in images],
            "localisations": [],
            "boundaries": boundaries,
        }
    )
    counts = {
        image.image_id: sum(each[0] == image.image_id and each[1] == "truth" for each in segments)
        for image in images
    }
    nothing = (0.1, 0, 0, 0, math.nan, math.nan)
    rows: list[tuple[object, ...]] = [
        (
            image.image_id,
            image.file_name,
            image.patient_id,
            counts[image.image_id],
            0,
            *nothing,
            *nothing,
            math.nan,
        )
        for image in images
    ]
    return EvaluationRecords(
        make_table("images", rows),
        make_table("instances", segments),
        make_table("overlaps", overlaps),
        make_table("class_pixels", []),
        clinical,
    )


def two_images(**changes: Any) -> EvaluationRecords:
    """A found and a missed lesion and a false positive in a left breast; a normal image with an instance."""
    images = [
        ImageRecord(1, "1.png", "p", 100, 50, laterality="left", view="CC", **changes),
        ImageRecord(2, "2.png", "q", 100, 50, laterality="right", **changes),
    ]
    segments = [
        (1, "truth", 0, "malignant", math.nan, 79, 0),
        (1, "truth", 1, "malignant", math.nan, 5000, 0),
        (1, "panoptic", 0, "malignant", 0.9, 60, 0),
        (1, "panoptic", 1, "malignant", 0.5, 60, 0),
        (1, "instance", 0, "malignant", 0.8, 60, 0),
        (2, "instance", 0, "malignant", 0.9, 60, 0),
    ]
    return hand_records(segments, [(1, "panoptic", 0, 0, 0.6), (1, "instance", 0, 0, 0.6)], images)


def test_by_hand() -> None:
    result = measure_clinical(two_images(), how(), thresholds=[0.1, 0.5], curves={"PQ": [0.4, 0.2]})
    assert result.counts == {
        "images": 2,
        "normal images": 1,
        "patients": 2,
        "lesions": 2,
        "suspicious lesions": 2,
    }
    expected = {
        "PQ area over T": 0.3,
        "matched Dice": 1.2 / 1.6,
        "lesion-wise Dice": 1.2 / 1.6 / 3,  # a match, a miss and a false positive
        "lesion-wise surface Dice": 0.5 / 3,
        "matched boundary IoU, median": 0.25,
        "matched 95 % Hausdorff distance (pixels)": 2.0,
        "breast AUC": 0.0,  # the normal breast scores higher
        "breast PR area": 0.5,
        "FROC mask_iou per image at 0.5": 0.5,  # one false positive in two images
        "FROC mask_iou per normal image at 0.5": 0.0,
        "FROC mask_iou per normal image at 1": 0.5,
        "FROC mask_iou by breast per normal image at 1": 1.0,
        "FROC any_overlap per image at 4": 0.5,
        "FROC centre per image at 4": 0.0,
    }
    assert {name: result.values[name] for name in expected} == pytest.approx(expected)
    assert result.undefined == {
        "strata by density": "no image says its density",
        "strata by modality": "no image says its modality",
        "strata by dataset": "no image says its dataset",
        "strata by fold": "no image says its fold",
    }


@pytest.mark.parametrize(
    ("records", "changes", "name", "reason"),
    [
        (
            two_images(),
            {"suspicious": ["benign"]},
            "breast AUC",
            r"none of 2 cases \(breast\) has a suspicious",
        ),
        (two_images(), {"suspicious": []}, "breast", "no class is called suspicious"),
        (None, {}, "patient", "do not say their patient"),
        (two_images(normal=False), {}, "FROC mask_iou per normal image at 1", "no image is normal"),
    ],
    ids=["no positive case", "no suspicious class", "no patients", "no normal image"],
)
def test_what_has_no_value_says_why(
    records: EvaluationRecords | None, changes: dict[str, Any], name: str, reason: str
) -> None:
    if records is None:
        whole = two_images()
        records = replace(whole, images=whole.images.assign(patient_id=""))
    own = how(clinical=replace(SETTINGS, **changes))
    result = measure_clinical(records, own, thresholds=[0.1], curves={"PQ": [math.nan]})
    assert math.isnan(result.values.get(name, math.nan))
    assert re.search(reason, result.undefined[name])
    assert result.undefined["PQ area over T"] == "PQ is undefined at some of 1 T"
    without = {key for key, value in result.values.items() if math.isnan(value)}
    assert without <= set(result.undefined)


def test_mixed_units_have_no_mean_distance() -> None:
    records = two_images()
    assert records.clinical is not None
    table = records.clinical.boundaries
    more = table.assign(predicted_index=1, true_index=1, unit="mm")
    overlaps = make_table("overlaps", [(1, "panoptic", 0, 0, 0.6), (1, "panoptic", 1, 1, 0.7)])
    clinical = replace(records.clinical, boundaries=pd.concat([table, more]))
    result = measure_clinical(
        replace(records, overlaps=overlaps, clinical=clinical), how(), thresholds=[0.1], curves={"PQ": [0.5]}
    )
    assert "in millimetres and some have none" in result.undefined["distances of borders"]
    assert not any("distance" in name for name in result.values)
    assert result.values["matched surface Dice"] == 0.5


def test_older_records_tell_what_they_lack() -> None:
    records, images = simulate(0)
    assert images
    fold = fold_statistics(
        records,
        how(category_names=["benign", "malignant"], isthing=[True, True]),
    )
    assert fold.missing["Dice"] == "the records are of an older version, without its pixels: evaluate again"
    assert fold.missing["borders"] == "the records do not hold them: evaluate with metrics=clinical"
    unsaid = fold_statistics(
        records,
        how(
            category_names=["benign", "malignant"],
            isthing=[True, True],
            max_detections=None,
            dice_reduction=None,
            clinical=None,
        ),
    )
    assert unsaid.missing["AP"].endswith("do not say metrics.max_detections")
    assert unsaid.missing["Dice"].endswith("do not say metrics.dice_reduction")
    assert "borders" not in unsaid.missing
    assert fold.missing["FROC centre"].startswith("the records do not hold what centre needs")
    assert "do not say their laterality" in fold.missing["breast"]
    assert {"segments", "instances", "patient", "FROC mask_iou per image"} <= set(fold.statistics)


def test_areas_are_those_of_the_evaluations_curves(make_pair: Callable[..., Any]) -> None:
    images = make_images(make_pair, 5, 6)
    thresholds = [0.1, 0.2, 0.5, 0.8]
    metrics = SegmentationMetrics(
        category_names=NAMES,
        isthing=ISTHING,
        thresholds=thresholds,
        matching="panopticapi",
        best_threshold_limit=0.9,
        max_detections=100,
        dice_reduction="pooled",
    )
    for _, prediction, target in images:
        metrics.update([prediction], [target])
    result = metrics.compute()
    own = how(thresholds=thresholds, matching="panopticapi", clinical=None)
    found = numbers(fold_statistics(record(images, clinical=None, matching="panopticapi"), own))
    for name, curve in (
        ("PQ", result.panoptic_quality),
        ("RQ", result.recognition_quality),
        ("SQ", result.segmentation_quality),
    ):
        expected = np.trapezoid(curve, thresholds) / 0.7
        assert expected > 0
        assert found[f"{name} area over T"] == pytest.approx(expected)
        assert found[f"{name} area over T"] == pytest.approx(area_over_thresholds(thresholds, curve))
    assert found["Dice"] == pytest.approx(result.dice)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_cases_of_records_are_those_of_the_statistics(seed: int) -> None:
    records, images = simulate(seed)
    own = how(category_names=["benign", "malignant"], isthing=[True, True])
    found = numbers(fold_statistics(records, own))
    cases = collect_cases(records, images, level="patient", suspicious=["malignant"])
    pairs = [
        (a > b) + (a == b) / 2
        for a, b in product(cases.scores[cases.positive], cases.scores[~cases.positive])
    ]
    assert found["patient AUC"] == pytest.approx(np.mean(pairs) if pairs else math.nan, nan_ok=True)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_strata_by_loop(make_pair: Callable[..., Any], seed: int) -> None:
    images = make_images(make_pair, seed)
    strata, missing = stratify(
        record(images), threshold=T, size_edges_mm=[0.5, 1.0], size_edges_share=[0.2, 0.4]
    )
    expected: dict[tuple[str, str], list[float]] = {}
    for image, prediction, target in images:
        void = target.segment_ids < 0
        for index, its in enumerate(target.masks):
            if not its.any():
                continue
            ious = [0.0]
            for mask, label in zip(prediction.panoptic.masks, prediction.panoptic.labels, strict=True):
                own = mask & ~void
                if label == target.labels[index]:
                    ious.append(int((own & its).sum()) / int((own | its).sum()))
            share = 2 * math.sqrt(int(its.sum()) / math.pi) / max(its.shape)
            size = "0 to 0.2" if share < 0.2 else "0.2 to 0.4" if share < 0.4 else "from 0.4"
            for key in (
                ("all", "all"),
                ("class", NAMES[int(target.labels[index])]),
                ("size (share of the image)", size),
                ("view", image.view or "not said"),
                ("side", str(image.laterality)),
            ):
                expected.setdefault(key, []).append(max(ious))
    found = {(each.by, each.level): each for each in strata}
    assert found.keys() == expected.keys()
    for key, ious in expected.items():
        hits = [iou for iou in ious if iou > T]
        assert (found[key].lesions, found[key].found) == (len(ious), len(hits))
        assert found[key].mean_iou == pytest.approx(np.mean(hits) if hits else math.nan, nan_ok=True)
    assert set(missing) == {"density", "modality", "dataset", "fold"}


def test_sizes_are_millimetres_where_all_images_say_their_spacing() -> None:
    """Lesions of 79 and 5000 pixels of 0.2 x 0.05 mm: circles of 1.003 and 7.98 mm."""
    records = two_images(spacing_mm=(0.2, 0.05))
    strata, _ = stratify(records, threshold=T, size_edges_mm=[1, 5, 10], size_edges_share=[0.1])
    sizes = {each.level: (each.lesions, each.found) for each in strata if each.by == "size (mm)"}
    assert sizes == {"1 to 5": (1, 1), "5 to 10": (1, 0)}


@pytest.mark.parametrize(("found", "lesions"), [(0, 5), (5, 5), (3, 10), (81, 263), (1, 1)])
def test_wilsons_interval_by_its_formula(found: int, lesions: int) -> None:
    z = norm.ppf(0.975)
    share = found / lesions
    middle = (share + z**2 / (2 * lesions)) / (1 + z**2 / lesions)
    half = z / (1 + z**2 / lesions) * math.sqrt(share * (1 - share) / lesions + z**2 / (4 * lesions**2))
    low, high = Stratum("all", "all", lesions, found, 0.0).interval(0.95)
    assert (low, high) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-9)
    # Newcombe 1998, table I: 81 of 263 have 0.2553 to 0.3662.
    if found == 81:
        assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_strata_of_folds_add_up() -> None:
    first = [Stratum("size (mm)", "from 10", 2, 1, 0.5), Stratum("view", "CC", 1, 0, 0.0)]
    second = [Stratum("size (mm)", "0 to 10", 3, 3, 2.0), Stratum("size (mm)", "from 10", 1, 1, 0.5)]
    assert pool_strata([first, second]) == [
        Stratum("size (mm)", "0 to 10", 3, 3, 2.0),
        Stratum("size (mm)", "from 10", 3, 2, 1.0),
        Stratum("view", "CC", 1, 0, 0.0),
    ]
    nothing = Stratum("view", "CC", 0, 0, 0.0)
    assert np.isnan([nothing.sensitivity, nothing.mean_iou, *nothing.interval(0.95)]).all()


def test_the_area_over_thresholds_is_the_mean_of_a_straight_curve() -> None:
    assert area_over_thresholds([0.1, 0.2, 0.5], [1.0, 0.75, 0.0]) == pytest.approx((0.0875 + 0.1125) / 0.4)
    assert area_over_thresholds([0.5], [0.3]) == 0.3
    assert math.isnan(area_over_thresholds([0.1, 0.2], [1.0, math.nan]))
