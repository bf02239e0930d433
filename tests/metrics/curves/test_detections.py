"""Detections from records give COCO's average precision, and are matched as in a plain loop over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.errors import UserError
from modise_lightning.metrics.accumulated.average_precision import InstanceAveragePrecision
from modise_lightning.metrics.curves.detections import Detections, pool_detections
from modise_lightning.metrics.curves.froc import froc_curve
from modise_lightning.metrics.curves.precision_recall import precision_at_recalls
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

NAMES = ["a", "b", "c"]
THRESHOLDS = [0.05, 0.3, 0.5, 0.75]
Images = list[tuple[InstanceSegmentation, PanopticSegmentation]]


def make_images(make_pair: Callable[..., Any], seed: int, num_images: int = 5) -> Images:
    """True segments, and instances that are them shifted or rectangles, with few distinct scores."""
    generator = np.random.default_rng(seed)
    images: Images = []
    for image in range(num_images):
        predicted, target = make_pair(seed + image, num_segments=8)
        masks = torch.cat([predicted.masks, predicted.masks.roll(1, 2), torch.ones(1, 16, 16).bool()])
        masks = masks[masks.flatten(1).any(1)]
        scores = torch.from_numpy(generator.integers(0, 6, len(masks)) / 5).float()
        labels = torch.from_numpy(generator.integers(0, len(NAMES), len(masks)))
        images.append((InstanceSegmentation(masks, labels, scores), target))
    return images


def record(images: Images) -> EvaluationRecords:
    recorder = EvaluationRecorder(category_names=NAMES, lowest_threshold=0.05, matching="hungarian")
    for number, (instances, target) in enumerate(images):
        panoptic = PanopticSegmentation(target.segment_ids.clamp(min=0), target.labels)
        prediction = Prediction(panoptic, instances, torch.zeros(3, 16, 16))
        image = ImageRecord(number, f"{number}.png", "p", 16, 16)
        recorder.update([image], [prediction], [target])
    return recorder.compute(0.3)


def read(
    records: EvaluationRecords, max_detections: int = 100, isthing: Sequence[bool] = (True, True, True)
) -> Detections:
    return Detections.of(
        records,
        category_names=NAMES,
        isthing=isthing,
        source="instance",
        max_detections=max_detections,
    )


@given(
    seed=st.integers(0, 2**32 - 10),
    max_detections=st.sampled_from([1, 3, 100]),
    isthing=st.sampled_from([(True, True, True), (True, False, True)]),
)
@settings(max_examples=25, deadline=None)
def test_precision_is_that_of_cocos_evaluation(
    make_pair: Callable[..., Any], seed: int, max_detections: int, isthing: tuple[bool, ...]
) -> None:
    images = make_images(make_pair, seed)
    metric = InstanceAveragePrecision(isthing=isthing, thresholds=THRESHOLDS, max_detections=max_detections)
    metric.update([instances for instances, _ in images], [target for _, target in images])
    detections = read(record(images), max_detections, isthing)
    found = torch.empty(len(THRESHOLDS), len(NAMES), dtype=torch.float64)
    for row, threshold in enumerate(THRESHOLDS):
        correct = detections.match(threshold)
        for label in range(len(NAMES)):
            own = detections.labels == label
            num_truth = int((detections.truth_labels == label).sum())
            found[row, label] = precision_at_recalls(detections.scores[own], correct[own], num_truth).mean()
    torch.testing.assert_close(found, metric.compute().by_category, equal_nan=True)


def test_pooled_images_stay_apart(make_pair: Callable[..., Any]) -> None:
    images = make_images(make_pair, 3, num_images=6)
    parts = [read(record(images[:2])), read(record(images[2:5])), read(record(images[5:]))]
    pooled, together = pool_detections(parts), read(record(images))
    assert pooled.num_images == 6
    np.testing.assert_array_equal(pooled.images, together.images)
    np.testing.assert_array_equal(pooled.truth_images, together.truth_images)
    for threshold in THRESHOLDS:
        expected = np.concatenate([part.match(threshold) for part in parts])
        assert expected.any()
        np.testing.assert_array_equal(pooled.match(threshold), expected)
        np.testing.assert_array_equal(read(record(images)).match(threshold), expected)


def test_another_evaluation_is_refused(make_pair: Callable[..., Any]) -> None:
    records = record(make_images(make_pair, 3))
    with pytest.raises(UserError, match="none of \\['x'\\]"):
        Detections.of(records, category_names=["x"], isthing=[True], source="instance", max_detections=100)
    with pytest.raises(UserError, match="panoptic segments without scores"):
        Detections.of(
            records, category_names=NAMES, isthing=[True] * 3, source="panoptic", max_detections=100
        )


def test_false_positives_are_counted_per_image_of_all_images() -> None:
    """Two false positives in four images; one image has the only lesion, two have nothing at all."""
    lesion = torch.zeros(16, 16, dtype=torch.int64)
    lesion[:4, :4] = 1
    nothing = torch.zeros(16, 16, dtype=torch.int64)
    wrong = torch.zeros(1, 16, 16, dtype=torch.bool)
    wrong[0, 8:, 8:] = True
    no_mask = torch.zeros(0, 16, 16, dtype=torch.bool)

    def image(masks: torch.Tensor, ids: torch.Tensor) -> tuple[InstanceSegmentation, PanopticSegmentation]:
        labels, scores = torch.zeros(len(masks), dtype=torch.int64), torch.full((len(masks),), 0.5)
        truth = PanopticSegmentation(ids, torch.zeros(int(ids.max()), dtype=torch.int64))
        return InstanceSegmentation(masks, labels, scores), truth

    images = [image(wrong, lesion), image(wrong, nothing), image(no_mask, nothing), image(no_mask, nothing)]
    whole = read(record(images))
    halves = pool_detections([read(record(images[:1])), read(record(images[1:]))])
    for found in (whole, halves):
        assert found.num_images == 4
        curve = froc_curve(found, threshold=0.1, label=None)
        assert curve.false_positives.tolist() == [0, 0.5]
        assert curve.sensitivity.tolist() == [0, 0]


def test_of_equal_overlaps_the_later_truth_is_taken_as_in_coco() -> None:
    """The first detection overlaps both lesions alike; the second one only the earlier lesion."""
    found = Detections(
        num_images=1,
        scores=np.array([0.9, 0.8]),
        labels=np.array([0, 0]),
        images=np.array([0, 0]),
        truth_labels=np.array([0, 0]),
        truth_images=np.array([0, 0]),
        pair_detection=np.array([0, 0, 1]),
        pair_truth=np.array([0, 1, 0]),
        pair_iou=np.array([0.5, 0.5, 0.5]),
    )
    assert found.match(0.5).tolist() == [True, True]
