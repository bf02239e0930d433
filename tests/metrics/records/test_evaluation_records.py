"""Records hold what the metrics are made of, survive their files, and are checked when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.errors import UserError
from modise_lightning.metrics.accumulated.dice import SegmentationDice
from modise_lightning.metrics.accumulated.exact_sum import from_parts, to_parts
from modise_lightning.metrics.accumulated.panoptic_quality import PanopticQualitySweep
from modise_lightning.metrics.records.counts import count_recorded_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, read_records, write_records
from modise_lightning.metrics.records.image_record import instance_histogram
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

NAMES = ["mass", "calcification, clustered", "NA"]
THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]


def recorder() -> EvaluationRecorder:
    return EvaluationRecorder(category_names=NAMES, lowest_threshold=0.05, matching="hungarian")


def image_record(image_id: int, size: tuple[int, int] = (16, 16)) -> ImageRecord:
    return ImageRecord(image_id, f'image "{image_id}", left.png', f"00{image_id % 3}", *size)


def make_prediction(panoptic: PanopticSegmentation, seed: int) -> Prediction:
    """Overlapping instances and a random semantic result beside a panoptic one."""
    generator = torch.Generator().manual_seed(seed)
    size = panoptic.segment_ids.shape
    masks = torch.rand(5, *size, generator=generator) < torch.rand(5, 1, 1, generator=generator)
    masks[0] = False
    labels = torch.randint(0, 3, (5,), generator=generator)
    instances = InstanceSegmentation(masks, labels, torch.rand(5, generator=generator))
    return Prediction(panoptic, instances, torch.rand(3, *size, generator=generator))


Images = list[tuple[ImageRecord, Prediction, PanopticSegmentation]]


def make_images(make_pair: Callable[..., Any], seed: int, num_images: int = 4) -> Images:
    images: Images = []
    for image in range(num_images):
        panoptic, target = make_pair(seed + image, num_segments=8)
        images.append((image_record(7 * image), make_prediction(panoptic, seed + image), target))
    return images


def record(images: Images, best_threshold: float = 0.3) -> EvaluationRecords:
    collector = recorder()
    for image, prediction, target in images:
        collector.update([image], [prediction], [target])
    return collector.compute(best_threshold)


@given(seed=st.integers(0, 2**32 - 10))
@settings(max_examples=10, deadline=None)
def test_panoptic_quality_of_the_records_is_that_of_the_metric(
    make_pair: Callable[..., Any], seed: int
) -> None:
    images = make_images(make_pair, seed)
    records = record(images)
    for matching in ("hungarian", "greedy", "panopticapi"):
        metric = PanopticQualitySweep(num_categories=3, thresholds=THRESHOLDS, matching=matching)
        metric.update([prediction.panoptic for _, prediction, _ in images], [target for *_, target in images])
        expected = metric.compute().counts
        counts = count_recorded_images(
            records.instances,
            records.overlaps,
            image_ids=[image.image_id for image, *_ in images],
            category_names=NAMES,
            thresholds=THRESHOLDS,
            matching=matching,
        )
        *numbers, iou_sums = torch.from_numpy(counts).unbind(2)
        for name, number in zip(
            ("true_positives", "false_positives", "false_negatives"), numbers, strict=True
        ):
            assert torch.equal(number.sum(0), getattr(expected, name).double()), name
        assert torch.equal(from_parts(sum(map(to_parts, iou_sums))), expected.iou_sum)


@given(seed=st.integers(0, 2**32 - 10))
@settings(max_examples=10, deadline=None)
def test_segments_and_overlaps_equal_masks_compared_one_by_one(
    make_pair: Callable[..., Any], seed: int
) -> None:
    images = make_images(make_pair, seed, num_images=2)
    records = record(images)
    segments, overlaps = [], []
    for image, prediction, target in images:
        void = target.segment_ids == -1
        truth, instances, panoptic = target, prediction.instances, prediction.panoptic
        for index, mask in enumerate(truth.masks):
            if mask.any():
                segments.append((image.image_id, "truth", index, int(truth.labels[index]), None, mask, 0))
        for source, result in (("instance", instances), ("panoptic", panoptic)):
            for index, mask in enumerate(result.masks):
                if mask.any():
                    row = (image.image_id, source, index, int(result.labels[index]))
                    segments.append((*row, float(result.scores[index]), mask, int((mask & void).sum())))
                for other, true in enumerate(truth.masks):
                    both = int((mask & true).sum())
                    if both:
                        iou = both / int(((mask & ~void) | true).sum())
                        overlaps.append((image.image_id, source, index, other, iou))
    rows = zip(*(records.instances[column] for column in records.instances), strict=True)
    for (image_id, source, index, category, score, area, void_area), expected in zip(
        rows, segments, strict=True
    ):
        assert (image_id, source, index, void_area) == (*expected[:3], expected[6])
        assert category == NAMES[expected[3]]
        assert math.isnan(score) if expected[4] is None else score == expected[4]
        assert area == int(expected[5].sum())
    found = list(zip(*(records.overlaps[column] for column in records.overlaps), strict=True))
    assert found == overlaps


def test_an_image_by_hand() -> None:
    # Truth: A (class 0) 4 pixels, B (class 1) 2 pixels, one void pixel.
    target = PanopticSegmentation(torch.tensor([[1, 1, 1, 1, 2, 2, -1, 0]]), torch.tensor([0, 1]))
    # Panoptic: 3 of A's pixels in the right class (IoU 3/4); B and the void pixel in the wrong class (IoU 1).
    panoptic = PanopticSegmentation(
        torch.tensor([[1, 1, 1, 0, 2, 2, 2, 0]]), torch.tensor([0, 2]), torch.tensor([0.75, 0.5])
    )
    masks = torch.tensor([[[0, 0, 1, 1, 1, 0, 0, 0]]], dtype=torch.bool)
    instances = InstanceSegmentation(masks, torch.tensor([0]), torch.tensor([0.25]))
    semantic = torch.zeros(3, 1, 8)
    semantic[0, 0, :2] = 1
    records = record([(image_record(3, (1, 8)), Prediction(panoptic, instances, semantic), target)], 0.8)
    (row,) = records.images.to_dict("records")
    assert row == {
        "image_id": 3,
        "file_name": 'image "3", left.png',
        "patient_id": "000",
        "num_truth": 2,
        "num_predicted": 2,
        "lowest_threshold": 0.05,
        "lowest_true_positives": 1,
        "lowest_false_positives": 1,
        "lowest_false_negatives": 1,
        "lowest_matched_iou": 0.75,
        "lowest_panoptic_quality": 0.25,  # class 0: 0.75, classes 1 and 2: 0
        "best_threshold": 0.8,
        "best_true_positives": 0,
        "best_false_positives": 2,
        "best_false_negatives": 2,
        "best_matched_iou": pytest.approx(math.nan, nan_ok=True),
        "best_panoptic_quality": 0.0,
        "dice": pytest.approx((2 * 2 / (2 + 4) + 0) / 2),  # class 0: 2 of 4 pixels; class 1: none of 2
    }
    assert records.overlaps.to_dict("split")["data"] == [
        [3, "instance", 0, 0, 2 / 5],
        [3, "instance", 0, 1, 1 / 4],
        [3, "panoptic", 0, 0, 3 / 4],
        [3, "panoptic", 1, 1, 1.0],
    ]


def test_dice_of_an_image_is_the_metric_of_that_image(make_pair: Callable[..., Any]) -> None:
    images = make_images(make_pair, 5)
    for image, dice in zip(images, record(images).images["dice"], strict=True):
        metric = SegmentationDice(num_categories=3, reduction="pooled")
        metric.update([image[1].semantic], [image[2]])
        assert dice == float(metric.compute().mean)


def test_an_image_with_nothing_is_undefined_and_kept(tmp_path: Path) -> None:
    empty = PanopticSegmentation(torch.zeros(4, 4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    nothing = InstanceSegmentation(
        torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    )
    prediction = Prediction(empty, nothing, torch.zeros(3, 4, 4))
    write_records(tmp_path, record([(image_record(1), prediction, empty)]))
    records = read_records(tmp_path)
    assert len(records.instances) == len(records.overlaps) == 0
    assert records.images["num_truth"].tolist() == [0]
    assert records.images[["best_panoptic_quality", "best_matched_iou", "dice"]].isna().all(axis=None)


def test_an_image_evaluated_twice_counts_once(make_pair: Callable[..., Any]) -> None:
    images = make_images(make_pair, 1)
    assert_same(record([*images, images[0], images[2]]), record(images))
    assert_same(record(images[::-1]), record(images))


def assert_same(found: EvaluationRecords, expected: EvaluationRecords) -> None:
    for name in ("images", "instances", "overlaps"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(expected, name), check_exact=True)


def test_files_keep_every_digit(make_pair: Callable[..., Any], tmp_path: Path) -> None:
    records = record(make_images(make_pair, 2))
    write_records(tmp_path / "records" / "trained", records)
    assert_same(read_records(tmp_path / "records" / "trained"), records)
    files = sorted(path.name for path in (tmp_path / "records" / "trained").iterdir())
    assert files == ["class_pixels.csv", "images.csv", "instances.csv", "overlaps.csv"]


def test_a_full_sized_image_has_the_histogram_counted_by_hand() -> None:
    masks = torch.zeros(100, 1024, 1024, dtype=torch.bool)
    masks[:, 200:500, 300:600] = True
    ids = torch.zeros(1024, 1024, dtype=torch.int64)
    ids[300:500, 300:500], ids[600:700, 600:900] = 1, 2
    instances = InstanceSegmentation(masks, torch.zeros(100, dtype=torch.int64), torch.ones(100))
    histogram = instance_histogram(instances, PanopticSegmentation(ids, torch.tensor([0, 0])))
    assert histogram.tolist() == [[0, 300 * 300 - 200 * 200, 200 * 200, 0]] * 100


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        ("images", "image_id", "-1", r"images\.csv: line 2, image_id: expected a whole number.*found '-1'"),
        ("images", "dice", "1.5", r"line 2, dice: expected a number in \[0, 1\], found '1\.5'"),
        ("images", "best_threshold", "", r"line 2, best_threshold: expected a number"),
        ("images", "image_id", "7", r"images\.csv: line 3 repeats the image_id"),
        ("instances", "source", "guess", r"instances\.csv: line 2, source: expected one of .*'guess'"),
        ("instances", "score", "nan", r"line 2, score: expected a number in \[0, 1\], found 'nan'"),
        ("instances", "image_id", "99", r"instances\.csv: line 2: images\.csv has no image_id 99"),
        ("instances", "area", "1e3", r"line 2, area: expected a whole number"),
        ("overlaps", "iou", "0", r"line 2, iou: expected above 0"),
        ("overlaps", "predicted_index", "77", r"overlaps\.csv: line 2: instances\.csv has no .*index 77"),
        ("overlaps", "true_index", "78", r"instances\.csv has no .*source truth, true_index 78"),
    ],
)
def test_a_wrong_value_is_named(
    file: str, column: str, value: str, message: str, make_pair: Callable[..., Any], tmp_path: Path
) -> None:
    write_records(tmp_path, record(make_images(make_pair, 3)))
    table = pd.read_csv(tmp_path / f"{file}.csv", dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(tmp_path / f"{file}.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a CSV file of records"),
        (b"\xff\xfe", "not a CSV file of records"),
        (b"a,b\n1,2,3\n4\n", "expected the columns"),
        (b'image_id\n"1\n', "not a CSV file of records"),
    ],
)
def test_files_that_hold_something_else_are_told(
    content: bytes, message: str, make_pair: Callable[..., Any], tmp_path: Path
) -> None:
    write_records(tmp_path, record(make_images(make_pair, 3)))
    (tmp_path / "overlaps.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"overlaps\.csv: .*{message}"):
        read_records(tmp_path)


@given(seed=st.integers(0, 2**32 - 10))
@settings(max_examples=10, deadline=None)
def test_images_are_counted_as_if_each_were_alone_whatever_the_order_of_the_rows(
    make_pair: Callable[..., Any], seed: int
) -> None:
    records = record(make_images(make_pair, seed))
    # Indices of other programs may be anything that rises.
    instances = records.instances.assign(index=records.instances["index"] * 10**17 // 3)
    indices = {name: records.overlaps[name] * 10**17 // 3 for name in ("predicted_index", "true_index")}
    overlaps = records.overlaps.assign(**indices)
    image_ids = records.images["image_id"].tolist()[::-1]
    for matching in ("hungarian", "greedy", "panopticapi"):
        how = {"category_names": NAMES, "thresholds": THRESHOLDS, "matching": matching}
        together = count_recorded_images(
            instances.sample(frac=1, random_state=0),
            overlaps.sample(frac=1, random_state=1),
            image_ids=image_ids,
            **how,
        )
        for counts, image_id in zip(together, image_ids, strict=True):
            (alone,) = count_recorded_images(records.instances, records.overlaps, image_ids=[image_id], **how)
            np.testing.assert_array_equal(counts, alone)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\.csv: cannot be read .*records/<model>"):
        read_records(tmp_path)


def test_records_of_other_categories_are_told(make_pair: Callable[..., Any]) -> None:
    records = record(make_images(make_pair, 3))
    with pytest.raises(UserError, match=r"the records hold the category '.*', which is none of \['cyst'\]"):
        count_recorded_images(
            records.instances,
            records.overlaps,
            image_ids=records.images["image_id"].tolist(),
            category_names=["cyst"],
            thresholds=[0.5],
            matching="hungarian",
        )


def test_wrong_sizes_are_refused(make_pair: Callable[..., Any]) -> None:
    image, prediction, target = make_images(make_pair, 3, 1)[0]
    found = prediction.instances
    prediction.instances = InstanceSegmentation(found.masks[:, 1:], found.labels, found.scores)
    with pytest.raises(ValueError, match="one size"):
        recorder().update([image], [prediction], [target])
