"""Predictions of classes that a truth does not annotate are neither right nor wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.records.evaluation_records import read_records, write_records
from modise_lightning.metrics.segments.annotated import only_annotated
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

CONFIG = Path(__file__).parents[2] / "conf" / "metrics" / "paper.yaml"
NAMES = ["mass", "calcification", "distortion"]
ANNOTATED = torch.tensor([True, False, True])


def make_metrics() -> SegmentationMetrics:
    values = yaml.safe_load(CONFIG.read_text())
    del values["_target_"], values["_partial_"]
    return SegmentationMetrics(category_names=NAMES, isthing=[True] * 3, **values)


def make_case() -> tuple[Prediction, PanopticSegmentation]:
    """Truth: a mass. Predicted: it, a mass that is none, and two calcifications, which are not annotated."""
    true = torch.zeros(20, 20, dtype=torch.int64)
    true[2:8, 2:8] = 1
    true[18:, 18:] = -1
    predicted = torch.zeros(20, 20, dtype=torch.int64)
    predicted[2:8, 2:8], predicted[10:14, 2:6] = 3, 2
    predicted[2:8, 12:18], predicted[12:16, 12:16] = 1, 4
    predicted[19, 0] = -1
    labels = torch.tensor([1, 0, 0, 1])
    panoptic = PanopticSegmentation(predicted, labels, torch.tensor([0.9, 0.6, 0.8, 0.7]))
    semantic = torch.zeros(3, 20, 20)
    for mask, label in zip(panoptic.masks, labels.tolist(), strict=True):
        semantic[label][mask] = 0.9
    instances = InstanceSegmentation(panoptic.masks, labels, torch.tensor([0.9, 0.6, 0.8, 0.7]))
    target = PanopticSegmentation(true, torch.tensor([0]), annotated=ANNOTATED)
    return Prediction(panoptic, instances, semantic), target


def test_segments_of_annotated_classes_stay_and_are_numbered_anew() -> None:
    prediction, target = make_case()
    kept = only_annotated(prediction, target)
    assert kept.panoptic.labels.tolist() == [0, 0]
    assert kept.panoptic.scores is not None
    assert kept.panoptic.scores.tolist() == pytest.approx([0.6, 0.8])
    for own, before in ((1, 2), (2, 3), (-1, -1)):
        assert ((kept.panoptic.segment_ids == own) == (prediction.panoptic.segment_ids == before)).all()
    assert (kept.panoptic.segment_ids == 0).sum() == 400 - 36 - 16 - 1
    assert kept.instances.labels.tolist() == [0, 0]
    assert (kept.semantic[1] == 0).all()
    assert (kept.semantic[[0, 2]] == prediction.semantic[[0, 2]]).all()
    assert only_annotated(prediction, replace(target, annotated=None)) is prediction


def test_metrics_count_annotated_classes_only() -> None:
    prediction, target = make_case()
    metrics, everything = make_metrics(), make_metrics()
    metrics.update([prediction], [target])
    everything.update([prediction], [replace(target, annotated=None)])
    found, told = metrics.compute(), everything.compute()
    # By hand: one true positive with an IoU of 1 and one false positive, so PQ = 1 / 1.5.
    assert found.panoptic_quality[0] == pytest.approx(1 / 1.5)
    assert found.panoptic_quality_by_category["calcification"][0] != found.panoptic_quality[0]
    assert metrics.panoptic_quality.false_positives[:, 1].sum() == 0
    assert everything.panoptic_quality.false_positives[0].tolist() == [1, 2, 0]
    assert told.panoptic_quality[0] == pytest.approx((1 / 1.5 + 0) / 2)
    assert found.dice == pytest.approx(2 * 36 / (36 + 36 + 16))
    assert found.average_precision[0] == pytest.approx(1.0)  # the mass has the better score


def test_records_say_what_is_annotated_and_hold_nothing_else(tmp_path: Path) -> None:
    prediction, target = make_case()
    recorder = make_metrics().recorder()
    images = [ImageRecord(number, f"{number}.png", "a", 20, 20) for number in (1, 2)]
    recorder.update(images, [prediction] * 2, [target, replace(target, annotated=None)])
    records = recorder.compute(0.5)
    write_records(tmp_path, records)
    read = read_records(tmp_path)
    for table in (records.annotated_classes, read.annotated_classes):
        assert table is not None
        assert table.values.tolist() == [[1, NAMES[0]], [1, NAMES[2]], *([2, name] for name in NAMES)]
    panoptic = read.instances[read.instances["source"] == "panoptic"]
    assert panoptic.groupby("image_id")["category"].apply(list).tolist() == [
        ["mass", "mass"],
        ["calcification", "mass", "mass", "calcification"],
    ]
    assert read.images["best_false_positives"].tolist() == [1, 3]


def test_records_of_one_source_are_as_before(tmp_path: Path) -> None:
    prediction, target = make_case()
    recorder = make_metrics().recorder()
    image = ImageRecord(1, "1.png", "a", 20, 20)
    recorder.update([image], [prediction], [replace(target, annotated=None)])
    write_records(tmp_path, recorder.compute(0.5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("class_pixels.csv", "images.csv", "instances.csv", "overlaps.csv"),
    ]
    assert read_records(tmp_path).annotated_classes is None
