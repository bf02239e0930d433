"""Panoptic quality against the reference algorithm, brute force and torchmetrics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.detection import PanopticQuality

from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualitySweep
from modise_lightning.metrics.best_threshold import best_threshold
from modise_lightning.metrics.segments.functional import PanopticCounts, panoptic_counts
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import PanopticSegmentation

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
MATCHINGS: tuple[Matching, ...] = ("hungarian", "greedy", "panopticapi")
SEEDS = st.integers(0, 2**32 - 1)
K = 3


def counts_of(pair: tuple[PanopticSegmentation, PanopticSegmentation], matching: Matching) -> PanopticCounts:
    return panoptic_counts(*pair, num_categories=K, thresholds=THRESHOLDS, matching=matching)


def segmentation(ids: list[list[int]], labels: list[int]) -> PanopticSegmentation:
    return PanopticSegmentation(torch.tensor(ids), torch.tensor(labels, dtype=torch.int64))


def slow_ious(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> dict[tuple[int, int], float]:
    """IoU of each overlapping pair of the same class, mask by mask."""
    void = truth.segment_ids == -1
    ious = {}
    for p, t in itertools.product(range(len(prediction.labels)), range(len(truth.labels))):
        if prediction.labels[p] == truth.labels[t]:
            predicted, true = prediction.segment_ids == p + 1, truth.segment_ids == t + 1
            both = int((predicted & true).sum())
            if both:
                ious[p, t] = both / int(((predicted & ~void) | true).sum())
    return ious


def slow_counts(
    prediction: PanopticSegmentation, truth: PanopticSegmentation, matched: list[tuple[int, int, float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The loops of panopticapi's evaluation after its matching."""
    tp, fp, fn, iou_sum = np.zeros(K), np.zeros(K), np.zeros(K), np.zeros(K)
    for _, t, iou in matched:
        tp[truth.labels[t]] += 1
        iou_sum[truth.labels[t]] += iou
    for t, label in enumerate(truth.labels.tolist()):
        if (truth.segment_ids == t + 1).any() and t not in {pair[1] for pair in matched}:
            fn[label] += 1
    for p, label in enumerate(prediction.labels.tolist()):
        predicted = prediction.segment_ids == p + 1
        if not predicted.any() or p in {pair[0] for pair in matched}:
            continue
        if (truth.segment_ids[predicted] == -1).sum() / predicted.sum() > 0.5:
            continue
        fp[label] += 1
    return tp, fp, fn, iou_sum


def check_counts(counts: PanopticCounts, index: int, expected: tuple[np.ndarray, ...]) -> None:
    found = (counts.true_positives, counts.false_positives, counts.false_negatives)
    for values, truth in zip(found, expected, strict=False):
        assert values[index].tolist() == truth.tolist()
    assert counts.iou_sum[index].tolist() == pytest.approx(expected[3].tolist(), abs=1e-12)


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_panopticapi_matching_equals_the_reference_algorithm(
    make_pair: Callable[..., Any], seed: int
) -> None:
    pair = make_pair(seed)
    counts, ious = counts_of(pair, "panopticapi"), slow_ious(*pair)
    for index, threshold in enumerate(THRESHOLDS):
        matched = [(p, t, iou) for (p, t), iou in ious.items() if iou > threshold]
        check_counts(counts, index, slow_counts(*pair, matched))


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_all_matchings_agree_from_one_half_on(make_pair: Callable[..., Any], seed: int) -> None:
    pair = make_pair(seed, num_segments=8)
    reference = counts_of(pair, "panopticapi")
    for matching in ("hungarian", "greedy"):
        counts = counts_of(pair, matching)
        for name in ("true_positives", "false_positives", "false_negatives", "iou_sum"):
            assert torch.equal(getattr(counts, name)[9:], getattr(reference, name)[9:])


def all_assignments(
    ious: dict[tuple[int, int], float], threshold: float, num_predictions: int
) -> list[list[tuple[int, int, float]]]:
    """Every one-to-one choice among the pairs above the threshold, the empty one included."""
    assignments: list[list[tuple[int, int, float]]] = [[]]
    for p in range(num_predictions):
        options = [(p, t, iou) for (q, t), iou in ious.items() if q == p and iou > threshold]
        assignments += [
            [*chosen, option]
            for chosen, option in itertools.product(assignments, options)
            if option[1] not in {pair[1] for pair in chosen}
        ]
    return assignments


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_hungarian_matching_has_the_largest_total_iou(make_pair: Callable[..., Any], seed: int) -> None:
    pair = make_pair(seed, num_categories=2)
    counts, ious = counts_of(pair, "hungarian"), slow_ious(*pair)
    for index, threshold in enumerate(THRESHOLDS[:9]):
        assignments = all_assignments(ious, threshold, len(pair[0].labels))
        best = max(sum(iou for *_, iou in assignment) for assignment in assignments)
        optimal = [a for a in assignments if sum(iou for *_, iou in a) > best - 1e-12]
        assert float(counts.iou_sum[index].sum()) == pytest.approx(best, abs=1e-12)
        found = counts.true_positives[index].tolist()
        assert found in [slow_counts(*pair, assignment)[0].tolist() for assignment in optimal]
        if len(optimal) == 1:
            check_counts(counts, index, slow_counts(*pair, optimal[0]))


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_greedy_matching_takes_the_largest_iou_first(make_pair: Callable[..., Any], seed: int) -> None:
    pair = make_pair(seed, num_categories=2)
    counts, ious = counts_of(pair, "greedy"), slow_ious(*pair)
    for index, threshold in enumerate(THRESHOLDS):
        left = {key: iou for key, iou in ious.items() if iou > threshold}
        matched = []
        while left:
            p, t = max(left, key=lambda key: left[key])
            matched.append((p, t, left[p, t]))
            left = {key: iou for key, iou in left.items() if key[0] != p and key[1] != t}
        check_counts(counts, index, slow_counts(*pair, matched))


def test_matchings_differ_where_one_truth_has_two_predictions() -> None:
    # Truth 1 = columns 0-9 of a row of 20. Predictions: columns 0-3 (IoU 0.4) and 4-9 (IoU 0.6).
    truth = segmentation([[1] * 10 + [0] * 10], [0])
    prediction = segmentation([[1] * 4 + [2] * 6 + [0] * 10], [0, 0])
    true_positives = {
        matching: counts_of((prediction, truth), matching).true_positives[:, 0].tolist()
        for matching in MATCHINGS
    }
    assert true_positives["panopticapi"] == [2] * 7 + [1] * 4 + [0] * 8  # 0.4 > 0.35, 0.6 > 0.55
    assert true_positives["hungarian"] == true_positives["greedy"] == [1] * 11 + [0] * 8


def test_hungarian_beats_greedy_on_a_chain() -> None:
    # IoU: (p1, t1) 6/14, (p1, t2) 4/10, (p2, t1) 4/10. Greedy takes 6/14 alone; the best total is 8/10.
    truth = segmentation([[1] * 10 + [2] * 4], [0, 0])
    prediction = segmentation([[2] * 4 + [1] * 10], [0, 0])
    hungarian, greedy = (counts_of((prediction, truth), name) for name in ("hungarian", "greedy"))
    assert hungarian.true_positives[:, 0].tolist() == [2] * 7 + [1] + [0] * 11
    assert hungarian.iou_sum[:, 0].tolist() == pytest.approx([0.8] * 7 + [6 / 14] + [0] * 11)
    assert greedy.true_positives[:, 0].tolist() == [1] * 8 + [0] * 11


def test_a_match_needs_more_than_the_threshold() -> None:
    truth = segmentation([[1] * 10 + [0] * 10], [0])
    prediction = segmentation([[1] * 5 + [0] * 15], [0])
    for matching in MATCHINGS:
        true_positives = counts_of((prediction, truth), matching).true_positives[:, 0].tolist()
        assert true_positives == [1] * 9 + [0] * 10  # IoU 0.5 is a match at 0.45, none at 0.5


def test_void_pixels_are_ignored() -> None:
    # Prediction 1 is mostly void: no false positive. Prediction 2 is half void: a false positive.
    # Prediction 3 covers truth 1 and as much void: its IoU is 1.
    truth = segmentation([[-1, -1, 0, -1, 0, 1, 1, -1, -1]], [0])
    prediction = segmentation([[1, 1, 1, 2, 2, 3, 3, 3, 3]], [1, 2, 0])
    for matching in MATCHINGS:
        counts = counts_of((prediction, truth), matching)
        assert counts.false_positives.tolist() == [[0, 0, 1]] * 19
        assert counts.true_positives.tolist() == [[1, 0, 0]] * 19
        assert counts.iou_sum.tolist() == [[1.0, 0.0, 0.0]] * 19


def chain(overlaps: list[int], alone: list[int]) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    """Make a row in which predicted and true segments overlap in turn: prediction 1, truth 1, prediction 2.

    Args:
        overlaps: Pixels that each segment shares with the next one.
        alone: Pixels of each segment that are no other's.
    """
    maps: tuple[list[int], list[int]] = ([], [])
    for index, pixels in enumerate(alone):
        own, other = maps[index % 2], maps[1 - index % 2]
        own += [index // 2 + 1] * pixels
        other += [0] * pixels
        if index < len(overlaps):
            own += [index // 2 + 1] * overlaps[index]
            other += [(index + 1) // 2 + 1] * overlaps[index]
    labels = [0] * (len(alone) // 2)
    return segmentation([maps[0]], labels), segmentation([maps[1]], labels)


def test_a_higher_threshold_can_match_more_pairs_of_a_chain() -> None:
    """Recognition may rise with the threshold below 0.5, by definition of the best assignment.

    The IoUs along the chain are 1/4, 3/7, 2/7, 1/7, 2/9, 1/2, 2/7. Below 1/7 the best total has three pairs:
    3/7 + 1/7 + 1/2 = 1.071. Without the weak middle it has four: 1/4 + 2/7 + 2/9 + 2/7 = 1.044.
    """
    pair = chain([1, 3, 2, 1, 2, 4, 2], [0, 0, 1, 0, 2, 0, 0, 1])
    assert sorted(slow_ious(*pair).values()) == pytest.approx(
        sorted([1 / 4, 3 / 7, 2 / 7, 1 / 7, 2 / 9, 1 / 2, 2 / 7])
    )
    counts = counts_of(pair, "hungarian")
    assert counts.true_positives[:5, 0].tolist() == [3, 3, 4, 4, 2]
    assert counts.iou_sum[1:3, 0].tolist() == pytest.approx([15 / 14, 263 / 252])
    metric = PanopticQualitySweep(num_categories=1, thresholds=THRESHOLDS, matching="hungarian")
    metric.update([pair[0]], [pair[1]])
    recognition = metric.compute().mean_recognition_quality
    assert recognition[1:3].tolist() == [0.75, 1.0]
    # Greedy matching never does it: a higher threshold only takes pairs away.
    greedy = counts_of(pair, "greedy").true_positives[:, 0]
    assert (greedy.diff() <= 0).all()


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_recognition_never_rises_from_one_half_on(make_pair: Callable[..., Any], seed: int) -> None:
    for matching in MATCHINGS:
        metric = sweep(matching)
        for image in range(3):
            prediction, target = make_pair((seed + image) % 2**32, num_segments=10)
            metric.update([prediction], [target])
        recognition = metric.compute().recognition_quality[THRESHOLDS.index(0.5) :]
        # NaN is a class that does not occur, at any threshold.
        assert (recognition.diff(dim=0).nan_to_num() <= 0).all()


def test_the_total_iou_of_hungarian_matches_never_rises_with_the_threshold(
    make_pair: Callable[..., Any],
) -> None:
    for seed in range(30):
        counts = counts_of(make_pair(seed, num_segments=12), "hungarian")
        assert (counts.iou_sum.sum(1).diff() <= 1e-12).all()
        # From 0.5 on matches are unique, and higher thresholds only lose some. Below, a higher threshold can
        # cut a chain of overlaps so that the largest total has more pairs.
        assert (counts.true_positives[9:].diff(dim=0) <= 0).all()


def sweep(matching: Matching = "hungarian") -> PanopticQualitySweep:
    return PanopticQualitySweep(num_categories=K, thresholds=THRESHOLDS, matching=matching)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_recognition_falls_with_the_threshold_on_ordinary_predictions(
    make_pair: Callable[..., Any], matching: Matching
) -> None:
    metric = sweep(matching)
    for seed in range(20):
        prediction, target = make_pair(seed)
        metric.update([prediction], [target])
    recognition = metric.compute().mean_recognition_quality
    assert (recognition.diff() <= 0).all()
    assert recognition[0] > recognition[-1] > 0


@pytest.mark.parametrize("matching", MATCHINGS)
def test_a_perfect_prediction_gives_one_everywhere(make_pair: Callable[..., Any], matching: Matching) -> None:
    metric = sweep(matching)
    for seed in range(10):
        target = make_pair(seed)[1]
        metric.update([target], [target])
    result = metric.compute()
    for values in (
        result.mean_panoptic_quality,
        result.mean_recognition_quality,
        result.mean_segmentation_quality,
    ):
        assert values.tolist() == [1.0] * 19


def test_equals_torchmetrics_at_one_half(make_pair: Callable[..., Any]) -> None:
    metric = sweep()
    # The pixels without a segment are a stuff class of its own there, and void is any unknown class.
    background, void = K, 99
    reference = PanopticQuality(
        things=set(range(K)), stuffs={background}, return_sq_and_rq=True, return_per_class=True
    )
    for seed in range(30):
        pair = make_pair(seed)
        metric.update([pair[0]], [pair[1]])
        maps = []
        for item in pair:
            classes = torch.cat([torch.tensor([void, background]), item.labels])[item.segment_ids + 1]
            instances = torch.where(item.segment_ids > 0, item.segment_ids, 0)
            maps.append(torch.stack([classes, instances], -1)[None])
        reference.update(*maps)
    expected = reference.compute()[:K]  # (K, 3): PQ, SQ, RQ
    result, at_half = metric.compute(), THRESHOLDS.index(0.5)
    found = torch.stack(
        [
            result.panoptic_quality[at_half],
            result.segmentation_quality[at_half],
            result.recognition_quality[at_half],
        ],
        1,
    )
    torch.testing.assert_close(found, expected.double(), atol=1e-6, rtol=0)
    assert 0.1 < float(found[:, 0].mean()) < 0.9


def test_sums_over_images_come_before_ratios() -> None:
    # Image 1: one true positive of IoU 1. Image 2: a false negative and two false positives.
    metric = sweep()
    first = segmentation([[1, 1, 0, 0]], [0])
    metric.update([first], [first])
    metric.update([segmentation([[0, 0, 1, 2]], [0, 0])], [first])
    result = metric.compute()
    assert result.recognition_quality[0, 0] == pytest.approx(1 / (1 + 2 / 2 + 1 / 2))
    assert result.segmentation_quality[0, 0] == 1
    assert result.mean_panoptic_quality[0] == pytest.approx(0.4)


def test_classes_that_do_not_occur_are_left_out_of_the_mean() -> None:
    metric = sweep()
    truth = segmentation([[1, 1, 0, 0]], [0])
    metric.update([segmentation([[1, 1, 2, 2]], [0, 1])], [truth])
    result = metric.compute()
    assert result.panoptic_quality[0, :2].tolist() == [1.0, 0.0]
    assert math.isnan(result.panoptic_quality[0, 2])
    assert result.mean_panoptic_quality[0] == 0.5  # class 1 occurs, in the prediction only
    assert result.segmentation_quality[0, 1] == 0


def test_empty_images_and_an_empty_evaluation_set() -> None:
    metric = sweep()
    empty = segmentation([[0, 0], [0, -1]], [])
    metric.update([empty], [empty])
    assert metric.compute().mean_panoptic_quality.isnan().all()
    metric.update([segmentation([[1, 1], [1, 1]], [2])], [empty])
    assert metric.compute().counts.false_positives[:, 2].tolist() == [1] * 19
    metric.update([empty], [segmentation([[1, 1], [1, 1]], [2])])
    assert metric.compute().mean_panoptic_quality.tolist() == [0.0] * 19


def test_segments_without_pixels_are_not_counted() -> None:
    hidden = segmentation([[1, 1, 0, 0]], [0, 1])
    metric = sweep()
    metric.update([hidden], [hidden])
    result = metric.compute()
    assert result.counts.false_positives.sum() == result.counts.false_negatives.sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_random_segments_equal_the_reference_algorithm(
    make_pair: Callable[..., Any], seed: int
) -> None:
    # 300 rectangles over one another, of which many are hidden; void; classes that miss.
    pair = make_pair(seed, num_segments=300, size=96)
    while len(pair[0].labels) < 200:
        seed += 100
        pair = make_pair(seed, num_segments=300, size=96)
    ious = slow_ious(*pair)
    counts = {matching: counts_of(pair, matching) for matching in MATCHINGS}
    for index, threshold in enumerate(THRESHOLDS):
        matched = [(p, t, iou) for (p, t), iou in ious.items() if iou > threshold]
        expected = slow_counts(*pair, matched)
        check_counts(counts["panopticapi"], index, expected)
        if threshold >= 0.5:
            check_counts(counts["hungarian"], index, expected)
            check_counts(counts["greedy"], index, expected)


def test_hundreds_of_segments() -> None:
    ids = torch.arange(400).view(20, 20).repeat_interleave(8, 0).repeat_interleave(8, 1) + 1
    labels = torch.arange(400) % K
    truth = PanopticSegmentation(ids, labels)
    # Shifted by 2 of 8 columns, around the edge: each segment keeps 6/8 of its area, IoU 0.6.
    prediction = PanopticSegmentation(ids.roll(2, 1), labels)
    for matching in MATCHINGS:
        counts = counts_of((prediction, truth), matching)
        totals = counts.true_positives.sum(1).tolist()
        assert totals[-1] == 0
        assert totals[THRESHOLDS.index(0.5)] == 400
        assert counts.iou_sum[THRESHOLDS.index(0.5)].sum() == pytest.approx(400 * 0.6)


def test_wrong_ids_and_sizes_are_refused() -> None:
    good = segmentation([[1, 0]], [0])
    for bad in (segmentation([[2, 0]], [0]), segmentation([[-2, 1]], [0])):
        with pytest.raises(ValueError, match="segment ids of the truth must be -1 to 1"):
            sweep().update([good], [bad])
    with pytest.raises(ValueError, match="one size"):
        sweep().update([good], [segmentation([[1], [0]], [0])])


def test_best_threshold() -> None:
    assert best_threshold([0.1, 0.4, 0.3, 0.9], [0.05, 0.5, 0.9, 0.95], 0.9) == 0.5
    assert best_threshold([0.4, 0.4, math.nan], [0.1, 0.2, 0.3], 0.9) == 0.1
    assert best_threshold([math.nan] * 2, [0.1, 0.2], 0.9) == 0.1
    # The limit itself is allowed; of equal ones the lowest is taken.
    assert best_threshold([0.1, 0.4], [0.5, 0.9], 0.9) == 0.9
    assert best_threshold([0.4], [0.9], 0.9) == 0.9
    with pytest.raises(ValueError, match="no threshold is at most"):
        best_threshold([0.1], [0.5], 0.4)
