"""Edge cases, one test a row of the table in docs/metrics.md."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from modise_lightning.metrics.clinical.record_statistics import FoldStatistics, Measurement, fold_statistics
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.patients.resampling import Bootstrap
from modise_lightning.metrics.patients.statistics import measure_once
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

NAMES = ["benign", "malignant"]
CLINICAL = ClinicalSettings(
    suspicious=["malignant"],
    case_levels=["patient"],
    hit_rules=["mask_iou", "box_iou", "centre", "any_overlap"],
    hit_threshold=0.1,
    false_positive_rates=[1, 4],
    low_rate=0.1,
    high_sensitivity=0.9,
    specificities=[0.9],
    surface_tolerance_mm=2.0,
    surface_tolerance_pixels=1.0,
    strip_share=0.02,
    size_edges_mm=[10],
    size_edges_share=[0.1],
    confidence=0.95,
)
SIZE = 12
nan = math.nan
Box = tuple[int, int, int, int, int]  # class, top, left, height, width; class -1 is void
UNDEFINED = {"PQ": nan, "RQ": nan, "SQ": nan, "AP": nan, "Dice": nan, "lesion-wise Dice": nan}
USUAL = {
    "PQ": "panoptic_quality",
    "RQ": "recognition_quality",
    "SQ": "segmentation_quality",
    "AP": "average_precision",
    "Dice": "dice",
}
NO_MATCH = {"matched Dice": nan, "matched surface Dice": nan, "matched boundary IoU": nan}


def segmentation(boxes: list[Box]) -> PanopticSegmentation:
    ids, labels = torch.zeros(SIZE, SIZE, dtype=torch.int64), []
    for label, top, left, height, width in boxes:
        if label >= 0:
            labels.append(label)
        ids[top : top + height, left : left + width] = len(labels) if label >= 0 else -1
    return PanopticSegmentation(ids, torch.tensor(labels, dtype=torch.int64))


def evaluate(images: list[tuple[list[Box], list[Box]]], scores: float = 0.8) -> FoldStatistics:
    """Evaluate truths and predictions, an image a patient; check that results and records agree."""
    metrics = SegmentationMetrics(
        category_names=NAMES,
        isthing=[True, True],
        thresholds=[0.1],
        matching="panopticapi",
        best_threshold_limit=0.9,
        max_detections=100,
        dice_reduction="pooled",
        clinical=CLINICAL,
    )
    recorder = metrics.recorder()
    for number, (truth, predicted) in enumerate(images):
        target, panoptic = segmentation(truth), segmentation(predicted)
        semantic = torch.zeros(2, SIZE, SIZE)
        for mask, label in zip(panoptic.masks, panoptic.labels.tolist(), strict=True):
            semantic[label][mask] = 1
        instances = InstanceSegmentation(
            panoptic.masks, panoptic.labels, torch.full((len(predicted),), scores)
        )
        prediction = Prediction(panoptic, instances, semantic)
        metrics.update([prediction], [target])
        recorder.update(
            [ImageRecord(number, f"{number}.png", f"p{number}", SIZE, SIZE)], [prediction], [target]
        )
    records = recorder.compute(0.1)
    how = Measurement(NAMES, [True, True], 0.1, "panopticapi", 100, "pooled", CLINICAL)
    fold = fold_statistics(records, how)
    found, result = numbers(fold), metrics.compute()
    for name, key in USUAL.items():
        assert found[name] == pytest.approx(result.at(0.1)[key], nan_ok=True)
    clinical = metrics.with_clinical(result, records).clinical
    assert clinical is not None
    assert {name for name, value in clinical.values.items() if math.isnan(value)} <= set(clinical.undefined)
    return fold


def numbers(fold: FoldStatistics) -> dict[str, float]:
    return {name: value for each in fold.statistics.values() for name, value in measure_once(each).items()}


LESION: Box = (1, 2, 2, 4, 4)
PIXEL: Box = (1, 5, 5, 1, 1)
PERFECT = {"PQ": 1, "RQ": 1, "SQ": 1, "AP": 1, "Dice": 1, "lesion-wise Dice": 1, "matched boundary IoU": 1}
PERFECT |= {"matched surface Dice": 1, "matched average surface distance (pixels)": 0}
# Each image has a truth and a prediction; what the table says of the numbers follows.
ROWS: dict[str, tuple[list[tuple[list[Box], list[Box]]], dict[str, float]]] = {
    "neither truth nor prediction": (
        [([], [])],
        UNDEFINED | NO_MATCH | {"FROC mask_iou per image at 1": nan, "patient AUC": nan},
    ),
    "truth only": (
        [([LESION], [])],
        {"PQ": 0, "RQ": 0, "SQ": 0, "AP": 0, "Dice": 0, "lesion-wise Dice": 0, **NO_MATCH}
        | {"FROC mask_iou per image at 1": 0, "FROC mask_iou per normal image at 1": nan},
    ),
    "prediction only": (
        [([], [LESION])],
        {"PQ": 0, "RQ": 0, "SQ": 0, "AP": nan, "Dice": 0, "lesion-wise Dice": 0, **NO_MATCH}
        | {"FROC mask_iou per image at 1": nan},
    ),
    "a class without truth and prediction": (
        [([LESION], [LESION])],
        PERFECT,  # benign occurs nowhere and is no part of any mean
    ),
    "a class without truth that is predicted": (
        [([LESION], [LESION, (0, 8, 8, 2, 2)])],
        {"PQ": 0.5, "Dice": 0.5, "AP": 1, "lesion-wise Dice": 0.5, "matched Dice": 1},
    ),
    "prediction on void": (
        [([(-1, 0, 0, 12, 12)], [LESION])],
        UNDEFINED | NO_MATCH,  # as if it were not there
    ),
    "one pixel, found": ([([PIXEL], [PIXEL])], PERFECT),
    "one pixel, missed by one": (
        [([PIXEL], [(1, 5, 6, 1, 1)])],
        {"PQ": 0, "AP": 0, "Dice": 0, "lesion-wise Dice": 0, **NO_MATCH}
        | {f"FROC {rule} per image at 4": 0 for rule in CLINICAL.hit_rules},
    ),
    "everything predicted": (
        # 4 of 144 pixels; the centre of the image is on the lesion.
        [([(1, 5, 5, 2, 2)], [(1, 0, 0, 12, 12)])],
        {"PQ": 0, "Dice": 8 / 148, "lesion-wise Dice": 0, "FROC mask_iou per image at 4": 0}
        | {"FROC box_iou per image at 4": 0, "FROC centre per image at 4": 1}
        | {"FROC any_overlap per image at 4": 1},
    ),
    "all scores tie": (
        [([LESION], [LESION]), ([], [LESION])],
        {"patient AUC": 0.5, "patient PR area": 0.5, "patient sensitivity at 90 % specificity": 0}
        | {"FROC mask_iou per image at 1": 1},
    ),
    "only one class of cases": (
        [([LESION], [LESION]), ([LESION], [])],
        {"patient AUC": nan, "patient pAUC FPR ≤ 0.1": nan, "patient PR area": 1}
        | {"FROC mask_iou per normal image at 1": nan},
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    images, expected = ROWS[row]
    found = numbers(evaluate(images))
    assert {name: found.get(name, nan) for name in expected} == pytest.approx(expected, nan_ok=True)


def test_one_patient() -> None:
    """An interval over one patient has no width, and its bias and skewness are unknown."""
    fold = evaluate([([LESION], [(1, 2, 3, 4, 4)])])
    bootstrap = Bootstrap(samples=20, confidence=0.95, seed=0)
    found = bootstrap.intervals(bootstrap.measure([fold.statistics["segments"]]))["PQ"]
    assert found.percentile == (found.value, found.value)
    assert np.isnan(found.bca).all()


def test_the_table_in_the_documentation_has_these_rows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    table = page.split("## Edge cases")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:]
    assert rows == [*ROWS, "one patient"]
