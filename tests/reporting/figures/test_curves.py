"""Curves over folds: by hand, and against the metrics that the runs wrote."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.reporting.cross_validation.models import Summary, threshold_index
from modise_lightning.reporting.figures.curves import FoldCurve, froc_curves, precision_recall_curves
from modise_lightning.reporting.figures.model_records import ModelRecords


def one_detection(score: float, hit: bool, label: int = 0) -> Detections:
    """One image with one lesion of class 0 and one detection."""
    pairs = 1 if hit else 0
    return Detections(
        num_images=1,
        scores=np.array([score]),
        labels=np.array([label]),
        images=np.array([0]),
        truth_labels=np.array([0]),
        truth_images=np.array([0]),
        pair_detection=np.zeros(pairs, dtype=np.int64),
        pair_truth=np.zeros(pairs, dtype=np.int64),
        pair_iou=np.full(pairs, 0.8),
    )


def test_mean_and_deviation_of_folds_by_hand() -> None:
    curves = [np.array([1.0, 0.5, math.nan]), np.array([0.0, math.nan, math.nan])]
    found = FoldCurve.of(np.arange(3.0), curves, Summary.of([0.5, 0.7]))
    np.testing.assert_allclose(found.mean, [0.5, 0.5, math.nan])
    np.testing.assert_allclose(found.deviation, [math.sqrt(0.5), math.nan, math.nan])
    assert found.area.mean == pytest.approx(0.6)


def test_area_is_the_average_precision_of_the_results(models: list[ModelRecords]) -> None:
    for model in models:
        results = list(model.row.results.values())
        detections = model.detections(pooling="average", max_detections=100)
        for threshold in (0.1, 0.5, 0.75):
            index = threshold_index(results[0], threshold)
            curves = precision_recall_curves(detections, labels=[0, 1], threshold=threshold)
            expected = [result.average_precision[index] for result in results]
            assert curves[None].area.mean == pytest.approx(statistics.fmean(expected))
            assert curves[None].area.deviation == pytest.approx(statistics.stdev(expected))
            assert curves[None].mean.mean() == pytest.approx(statistics.fmean(expected))
            for label, name in enumerate(model.category_names):
                own = [result.average_precision_by_category[name][index] for result in results]
                assert curves[label].area.mean == pytest.approx(statistics.fmean(own))


def test_folds_in_one_ranking_differ_from_their_average(models: list[ModelRecords]) -> None:
    """Fold 1 finds its lesion with 0.9; fold 2 has a miss with 0.95: in one ranking the miss comes first."""
    folds = [one_detection(0.9, hit=True), one_detection(0.95, hit=False)]
    average = precision_recall_curves(folds, labels=[0], threshold=0.5)[0]
    assert average.area.mean == pytest.approx(0.5)
    (pooled,) = [
        Detections(
            num_images=2,
            scores=np.array([0.9, 0.95]),
            labels=np.array([0, 0]),
            images=np.array([0, 1]),
            truth_labels=np.array([0, 0]),
            truth_images=np.array([0, 1]),
            pair_detection=np.array([0]),
            pair_truth=np.array([0]),
            pair_iou=np.array([0.8]),
        )
    ]
    curve = precision_recall_curves([pooled], labels=[0], threshold=0.5)[0]
    # Precision 1/2 up to recall 1/2, that is at 51 of the 101 recall points.
    assert curve.area.mean == pytest.approx(0.5 * 51 / 101)
    assert math.isnan(curve.area.deviation)
    by_fold = models[0].detections(pooling="average", max_detections=100)
    (together,) = models[0].detections(pooling="pool", max_detections=100)
    assert len(by_fold) == len(models[0].by_fold)
    assert together.num_images == sum(fold.num_images for fold in by_fold)


def test_a_class_without_truth_is_no_part_of_the_mean() -> None:
    curves = precision_recall_curves([one_detection(0.9, hit=True)], labels=[0, 1], threshold=0.5)
    assert curves[None].area.mean == 1
    assert math.isnan(curves[1].area.mean)


def test_sensitivity_by_hand() -> None:
    folds = [one_detection(0.9, hit=True), one_detection(0.9, hit=False), one_detection(0.9, True, label=1)]
    curves = froc_curves(
        folds, labels=[0], threshold=0.5, rates=np.array([0.5, 1.0]), operating_points=[0.5, 2]
    )
    np.testing.assert_allclose(curves[None].mean, [2 / 3, 2 / 3])
    np.testing.assert_allclose(curves[0].mean, [1 / 3, 1 / 3])
    assert curves[0].area.mean == pytest.approx(1 / 3)
    assert curves[0].area.deviation == pytest.approx(statistics.stdev([1, 0, 0]))
