"""Panoptic quality against the loop of panopticapi's evaluation, with its 0.5 replaced and crowd regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualitySweep
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.image_record import record_image
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.metrics.segments.functional import panoptic_counts
from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
NAMES = ["a", "b", "c"]
K = len(NAMES)
SEEDS = st.integers(0, 2**32 - 1)


def panopticapi(
    prediction: PanopticSegmentation, truth: PanopticSegmentation, threshold: float
) -> tuple[list[int], list[int], list[int], list[float]]:
    """``pq_compute_single_core`` of panopticapi's evaluation.py: the same dicts, loops and order.

    Ids of a file: 0 is void (VOID), 1000 is "no segment" (panopticapi has none: a class of its own that is
    left out of the counts), 2000 + k is the crowd region of class k.
    """
    crowd = truth.crowd if truth.crowd is not None else torch.full_like(truth.segment_ids, -1)
    true_map = np.where(truth.segment_ids < 0, 0, np.where(truth.segment_ids == 0, 1000, truth.segment_ids))
    true_map = np.where(crowd >= 0, 2000 + crowd.numpy(), true_map)
    predicted_map = np.where(prediction.segment_ids == 0, 1000, prediction.segment_ids)
    gt_area, pred_area = Counter(true_map.ravel().tolist()), Counter(predicted_map.ravel().tolist())
    gt_segms = {
        **{i + 1: (label, 0) for i, label in enumerate(truth.labels.tolist()) if gt_area[i + 1]},
        **{2000 + label: (label, 1) for label in range(K) if gt_area[2000 + label]},
    }
    pred_segms = {i + 1: label for i, label in enumerate(prediction.labels.tolist()) if pred_area[i + 1]}
    gt_pred_map = Counter(zip(true_map.ravel().tolist(), predicted_map.ravel().tolist(), strict=True))
    tp, fp, fn, iou_sum = [0] * K, [0] * K, [0] * K, [0.0] * K
    gt_matched, pred_matched = set(), set()
    for (gt_label, pred_label), intersection in gt_pred_map.items():
        if gt_label not in gt_segms or pred_label not in pred_segms:
            continue
        category, iscrowd = gt_segms[gt_label]
        if iscrowd == 1 or category != pred_segms[pred_label]:
            continue
        union = pred_area[pred_label] + gt_area[gt_label] - intersection - gt_pred_map[0, pred_label]
        iou = intersection / union
        if iou > threshold:
            tp[category] += 1
            iou_sum[category] += iou
            gt_matched.add(gt_label)
            pred_matched.add(pred_label)
    crowd_labels_dict = {}
    for gt_label, (category, iscrowd) in gt_segms.items():
        if gt_label in gt_matched:
            continue
        if iscrowd == 1:
            crowd_labels_dict[category] = gt_label
            continue
        fn[category] += 1
    for pred_label, category in pred_segms.items():
        if pred_label in pred_matched:
            continue
        intersection = gt_pred_map[0, pred_label]
        if category in crowd_labels_dict:
            intersection += gt_pred_map[crowd_labels_dict[category], pred_label]
        if intersection / pred_area[pred_label] > 0.5:
            continue
        fp[category] += 1
    return tp, fp, fn, iou_sum


def with_crowd(pair: Any, seed: int) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    """Turn a part of the truth into crowd regions, which are void for all else."""
    prediction, truth = pair
    generator = np.random.default_rng(seed)
    crowd = torch.full_like(truth.segment_ids, -1)
    for label in generator.permutation(K)[:2].tolist():
        top, left = generator.integers(0, 12, 2)
        crowd[top : top + 6, left : left + 8] = label
    ids = truth.segment_ids.masked_fill(crowd >= 0, -1)
    return prediction, PanopticSegmentation(ids, truth.labels, crowd=crowd)


@given(seed=SEEDS, crowded=st.booleans())
@settings(max_examples=60, deadline=None)
def test_counts_equal_panopticapis_loop(make_pair: Callable[..., Any], seed: int, crowded: bool) -> None:
    pair = make_pair(seed, num_segments=8)
    pair = with_crowd(pair, seed) if crowded else pair
    counts = panoptic_counts(*pair, num_categories=K, thresholds=THRESHOLDS, matching="panopticapi")
    for index, threshold in enumerate(THRESHOLDS):
        tp, fp, fn, iou_sum = panopticapi(*pair, threshold)
        assert counts.true_positives[index].tolist() == tp
        assert counts.false_positives[index].tolist() == fp
        assert counts.false_negatives[index].tolist() == fn
        assert counts.iou_sum[index].tolist() == pytest.approx(iou_sum, abs=1e-12)


def line(ids: list[int], labels: list[int], crowd: list[int] | None = None) -> PanopticSegmentation:
    return PanopticSegmentation(
        torch.tensor([ids]), torch.tensor(labels), crowd=None if crowd is None else torch.tensor([crowd])
    )


@pytest.mark.parametrize(
    ("in_crowd", "crowd_label", "expected"),
    [
        # 6 of the truth's 10 pixels and 4 crowd ones: 6 / 14, where void would give 6 / 10.
        (4, 0, {"tp": 0, "fp": 1, "fn": 1}),
        # More than half of it is in the crowd region of its class: no false positive.
        (7, 0, {"tp": 0, "fp": 0, "fn": 1}),
        # That of another class excuses nothing.
        (7, 1, {"tp": 0, "fp": 1, "fn": 1}),
        (0, 0, {"tp": 1, "fp": 0, "fn": 0}),
    ],
)
def test_crowd_regions_by_hand(in_crowd: int, crowd_label: int, expected: dict[str, int]) -> None:
    truth = line([1] * 10 + [-1] * 10, [0], [-1] * 10 + [crowd_label] * 10)
    prediction = line([0] * 4 + [1] * 6 + [1] * in_crowd + [0] * (10 - in_crowd), [0])
    counts = panoptic_counts(prediction, truth, num_categories=K, thresholds=[0.5], matching="panopticapi")
    found = {
        "tp": int(counts.true_positives.sum()),
        "fp": int(counts.false_positives.sum()),
        "fn": int(counts.false_negatives.sum()),
    }
    assert found == expected


def records_of(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> EvaluationRecords:
    height, width = truth.segment_ids.shape
    prediction = PanopticSegmentation(
        prediction.segment_ids, prediction.labels, torch.full((len(prediction.labels),), 0.9)
    )
    instances = InstanceSegmentation(
        torch.zeros(0, height, width, dtype=torch.bool), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    )
    recorder = EvaluationRecorder(category_names=NAMES, lowest_threshold=0.1, matching="panopticapi")
    image = ImageRecord(1, "1.png", "p", height, width)
    recorder.update([image], [Prediction(prediction, instances, torch.zeros(K, height, width))], [truth])
    return recorder.compute(0.1)


def test_predictions_on_void_are_no_false_positives_of_the_confusion() -> None:
    prediction, truth = line([1, 1, 0, 0], [0]), line([-1, -1, 0, 1], [0])
    counts = panoptic_counts(prediction, truth, num_categories=K, thresholds=[0.1], matching="panopticapi")
    confusion = count_confusion(records_of(prediction, truth), category_names=NAMES, threshold=0.1).counts
    assert int(counts.false_positives.sum()) == 0
    assert confusion[-1].sum() == 0
    assert confusion[0].tolist() == [0, 0, 0, 1]


@given(seed=SEEDS, crowded=st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_confusion_counts_the_segments_that_panoptic_quality_counts(
    make_pair: Callable[..., Any], seed: int, crowded: bool
) -> None:
    """Above 0.5, where classes agree: matches on the diagonal, and every counted segment in some cell."""
    prediction, truth = with_crowd(make_pair(seed), seed) if crowded else make_pair(seed)
    one_class = torch.zeros_like(prediction.labels), torch.zeros_like(truth.labels)
    prediction = PanopticSegmentation(prediction.segment_ids, one_class[0])
    truth = PanopticSegmentation(truth.segment_ids, one_class[1], crowd=truth.crowd)
    counts = panoptic_counts(prediction, truth, num_categories=K, thresholds=[0.5], matching="panopticapi")
    confusion = count_confusion(records_of(prediction, truth), category_names=NAMES, threshold=0.5).counts
    assert confusion[0, 0] == counts.true_positives[0, 0]
    assert confusion[-1, 0] == counts.false_positives[0, 0]
    assert confusion[0, -1] == counts.false_negatives[0, 0]


def test_records_say_which_pixels_excuse_a_prediction() -> None:
    truth = line([1] * 4 + [-1] * 6, [0], [-1] * 6 + [0] * 2 + [1] * 2)
    prediction = line([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0])
    recorded = record_image(
        ImageRecord(1, "1.png", "p", 1, 10),
        Prediction(
            prediction,
            InstanceSegmentation(prediction.segment_ids[None] == 1, torch.tensor([0]), torch.tensor([0.5])),
            torch.zeros(K, 1, 10),
        ),
        truth,
    )
    # One void pixel and two of the crowd region of its class; an instance takes all of them for void.
    found = {segment.source: (segment.area, segment.void_area) for segment in recorded.segments}
    assert found == {"truth": (4, 0), "instance": (5, 5), "panoptic": (5, 3)}


def test_one_to_one_matching_makes_the_lowest_threshold_the_best(make_pair: Callable[..., Any]) -> None:
    """TP + FP / 2 + FN / 2 is (predictions + truths) / 2 at every T, so that PQ follows the total IoU.

    Under panopticapi's matching it is not, and a higher threshold can be the best.
    """
    best: dict[str, list[float]] = {"hungarian": [], "greedy": [], "panopticapi": []}
    for seed in range(40):
        prediction, truth = make_pair(seed, num_segments=8, num_categories=1, void=False)
        for matching, found in best.items():
            metric = PanopticQualitySweep(
                num_categories=1,
                thresholds=THRESHOLDS,
                matching=matching,  # type: ignore[arg-type]
            )
            metric.update([prediction], [truth])
            result = metric.compute()
            counts = result.counts
            weight = counts.true_positives + counts.false_positives / 2 + counts.false_negatives / 2
            if matching != "panopticapi":
                assert (weight == weight[0]).all()
            found.append(best_threshold(result.mean_panoptic_quality.tolist(), THRESHOLDS, 0.9))
    assert set(best["hungarian"]) == set(best["greedy"]) == {0.05}
    assert max(best["panopticapi"]) > 0.05
