"""All metrics together, in one process and in two."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import yaml

from forked import Forked
from modise_lightning.errors import UserError
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import write_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

CONFIG = Path(__file__).parents[2] / "conf" / "metrics" / "paper.yaml"
NAMES = ["mass", "calcification", "breast"]
CLINICAL = ClinicalSettings(
    suspicious=["mass"],
    case_levels=["breast", "patient"],
    hit_rules=["mask_iou", "box_iou", "centre", "any_overlap"],
    hit_threshold=0.1,
    false_positive_rates=[0.5, 1],
    low_rate=0.1,
    high_sensitivity=0.9,
    specificities=[0.9],
    surface_tolerance_mm=2.0,
    surface_tolerance_pixels=1.0,
    strip_share=0.02,
    size_edges_mm=[10],
    size_edges_share=[0.2],
    confidence=0.95,
)


def make_metrics(**changes: Any) -> SegmentationMetrics:
    values = yaml.safe_load(CONFIG.read_text())
    del values["_target_"], values["_partial_"]
    arguments = {"category_names": NAMES, "isthing": [True, True, False], **values, **changes}
    return SegmentationMetrics(**arguments)


def make_image(index: int) -> tuple[Prediction, PanopticSegmentation]:
    """An image of a size of its own, with a prediction that is partly right."""
    generator = torch.Generator().manual_seed(index)
    height, width, segments = 24 + index, 32, index % 4
    ids = torch.zeros(height, width, dtype=torch.int64)
    for segment in range(segments):
        top, left = (int(torch.randint(0, 14, (), generator=generator)) for _ in range(2))
        ids[top : top + 8, left : left + 8] = segment + 1
    target = PanopticSegmentation(ids, torch.randint(0, 3, (segments,), generator=generator))
    shift = int(torch.randint(0, 3, (), generator=generator))
    panoptic = PanopticSegmentation(ids.roll(shift, 1), target.labels, torch.ones(segments))
    # Few different scores, so that detections of different images tie.
    scores = torch.randint(1, 4, (segments,), generator=generator) / 4
    return with_all_results(panoptic, scores), target


def with_all_results(panoptic: PanopticSegmentation, scores: torch.Tensor) -> Prediction:
    things = panoptic.labels < 2
    semantic = torch.zeros(3, *panoptic.segment_ids.shape)
    for mask, label in zip(panoptic.masks, panoptic.labels.tolist(), strict=True):
        semantic[label][mask] = 1
    instances = InstanceSegmentation(panoptic.masks[things], panoptic.labels[things], scores[things])
    return Prediction(panoptic, instances, semantic)


def evaluate(images: list[int], metrics: SegmentationMetrics) -> EvaluationResult:
    for image in images:
        prediction, target = make_image(image)
        metrics.update([prediction], [target])
    return metrics.compute()


def record(images: list[int], metrics: SegmentationMetrics, folder: Path) -> None:
    recorder = metrics.recorder()
    for image in images:
        prediction, target = make_image(image)
        size = target.segment_ids.shape
        recorder.update([ImageRecord(image, f"{image}.png", "7", *size)], [prediction], [target])
    records = recorder.compute(0.3)
    write_records(folder, records)
    if metrics.clinical is not None:
        nothing: dict[str, Any] = {}
        curves = [[0.5, 0.25]] * 4
        result = EvaluationResult(1, NAMES, [0.1, 0.3], 0.3, *curves, 0.5, *[nothing] * 5)
        clinical = metrics.with_clinical(result, records).clinical
        assert clinical is not None
        (folder / "clinical.json").write_text(json.dumps(dataclasses.asdict(clinical)))


def test_a_perfect_prediction_gives_one_everywhere() -> None:
    metrics = make_metrics()
    targets = [make_image(index)[1] for index in range(12)]
    metrics.update([with_all_results(t, torch.ones(len(t.labels))) for t in targets], targets)
    result = metrics.compute()
    assert result.summary() == {
        "panoptic_quality": 1.0,
        "recognition_quality": 1.0,
        "segmentation_quality": 1.0,
        "average_precision": 1.0,
        "dice": 1.0,
        "best_threshold": 0.05,
    }
    for threshold in result.thresholds:
        assert set(result.at(threshold).values()) == {1.0}
    assert result.num_images == 12
    for name in NAMES:
        assert result.panoptic_quality_by_category[name] == [1.0] * 19
        assert result.dice_by_category[name] == 1.0
    assert result.average_precision_by_category["mass"] == [1.0] * 19


def test_the_result_is_json() -> None:
    result = evaluate(list(range(6)), make_metrics())
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["num_images"] == 6
    assert plain["average_precision_by_category"]["breast"] == [None] * 19  # stuff
    assert plain["panoptic_quality"] == result.panoptic_quality
    assert 0 < result.summary()["panoptic_quality"] < 1


def test_the_summary_by_category_averages_to_the_summary() -> None:
    result = evaluate(list(range(6)), make_metrics())
    by_category = result.summary_by_category()
    assert len(by_category) == 5 * len(NAMES)
    for metric, mean in result.summary().items():
        if metric != "best_threshold":
            values = [by_category[f"{metric}/{name}"] for name in NAMES]
            defined = [value for value in values if not math.isnan(value)]
            assert defined
            assert mean == pytest.approx(sum(defined) / len(defined))


def test_the_best_threshold_is_within_the_limit() -> None:
    metrics = make_metrics(thresholds=[0.3, 0.5, 0.95], best_threshold_limit=0.9)
    assert evaluate(list(range(6)), metrics).best_threshold == 0.3


def test_one_class_and_one_threshold() -> None:
    metrics = make_metrics(category_names=["mass"], isthing=[True], thresholds=[0.1])
    ids = torch.tensor([[1, 1, 0, 0]])
    target = PanopticSegmentation(ids, torch.tensor([0]))
    instances = InstanceSegmentation(target.masks, target.labels, torch.tensor([0.5]))
    metrics.update([Prediction(target, instances, (ids == 1).float()[None])], [target])
    result = metrics.compute()
    assert result.panoptic_quality_by_category == {"mass": [1.0]}
    assert result.dice_by_category == {"mass": 1.0}


def test_reset_forgets() -> None:
    metrics = make_metrics()
    first = evaluate([1, 2, 3], metrics).to_dict()
    metrics.reset()
    assert evaluate([4], metrics).num_images == 1
    metrics.reset()
    assert evaluate([1, 2, 3], metrics).to_dict() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.5, 0.3]}, "must be rising"),
        ({"thresholds": []}, "must be rising"),
        ({"thresholds": [0.5, 1.0]}, "must be rising"),
        ({"thresholds": [0.95]}, "best_threshold_limit is 0.9"),
        ({"isthing": [True]}, "isthing has 1 values for 3"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_metrics(**changes)


def test_an_unknown_threshold_is_refused() -> None:
    with pytest.raises(UserError, match=r"threshold 0\.33 was not evaluated"):
        evaluate([1], make_metrics()).at(0.33)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    processes = [Forked(__file__, str(rank), str(tmp_path)) for rank in range(2)]
    for done in [process.wait() for process in processes]:
        assert done.returncode == 0, done.stderr
    # Of 7 images the processes have 4 and 3; of 1 image the second has none.
    for num_images in (7, 1):
        for reduction in ("pooled", "by_image"):
            images = list(range(1, 1 + num_images))
            expected = evaluate(images, make_metrics(dice_reduction=reduction)).to_dict()
            assert expected["num_images"] == num_images
            for rank in range(2):
                # Bit for bit: Python writes and reads all digits.
                assert (
                    json.loads((tmp_path / f"{num_images}_{reduction}_{rank}.json").read_text()) == expected
                )
        record(list(range(1, 1 + num_images)), make_metrics(clinical=CLINICAL), tmp_path / "expected")
        for rank in range(2):
            found = tmp_path / f"{num_images}_{rank}"
            names = sorted(path.name for path in (tmp_path / "expected").iterdir())
            assert len(names) == 8
            for name in names:
                assert (found / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def run_process(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    for num_images in (7, 1):
        images = list(range(1, 1 + num_images))
        own = images[rank::2]
        for reduction in ("pooled", "by_image"):
            result = evaluate(own, make_metrics(dice_reduction=reduction))
            (folder / f"{num_images}_{reduction}_{rank}.json").write_text(json.dumps(result.to_dict()))
        # An image that fills up the shorter share of a sampler is recorded once.
        twice = own if rank == 0 else [*own, images[0]]
        record(twice, make_metrics(clinical=CLINICAL), folder / f"{num_images}_{rank}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_process(int(sys.argv[1]), Path(sys.argv[2]))
