"""Average precision against pycocotools and torchmetrics."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from itertools import compress

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import MeanAveragePrecision

from modise_lightning.metrics.accumulated.average_precision import InstanceAveragePrecision
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
Images = tuple[list[InstanceSegmentation], list[PanopticSegmentation]]


def make_images(num_images: int, num_instances: int, size: tuple[int, int], num_categories: int) -> Images:
    """Squares, and predictions of them that are shifted, relabelled at times, with false ones between."""
    generator = np.random.default_rng(0)
    height, width = size
    predictions, targets = [], []
    for _ in range(num_images):
        ids = np.zeros(size, np.int64)
        masks = np.zeros((num_instances, height, width), bool)
        labels = generator.integers(0, num_categories, num_instances)
        num_true = int(generator.integers(0, num_instances + 1))
        for index in range(num_instances):
            side = int(generator.integers(4, 12))
            top, left = generator.integers(0, height - side), generator.integers(0, width - side)
            down, right = np.maximum(0, np.array([top, left]) + generator.integers(-3, 4, 2))
            masks[index, down : down + side, right : right + side] = True
            if index < num_true:
                ids[top : top + side, left : left + side] = index + 1
        found = np.where(generator.random(num_instances) < 0.8, labels, (labels + 1) % num_categories)
        scores = torch.from_numpy(generator.permutation(num_instances) / num_instances).float()
        predictions.append(InstanceSegmentation(torch.from_numpy(masks), torch.from_numpy(found), scores))
        targets.append(PanopticSegmentation(torch.from_numpy(ids), torch.from_numpy(labels[:num_true])))
    return predictions, targets


def pycocotools_precision(
    predictions: Sequence[InstanceSegmentation], targets: Sequence[PanopticSegmentation], num_categories: int
) -> np.ndarray:
    """Average precision (T, K) straight from pycocotools; -1 for a class without truth."""
    truth: dict[str, list[dict[str, object]]] = {
        "images": [{"id": i, "height": t.segment_ids.shape[0], "width": t.segment_ids.shape[1]}
                   for i, t in enumerate(targets)],
        "categories": [{"id": k, "name": str(k)} for k in range(num_categories)],
        "annotations": [],
        "info": [],
    }  # fmt: skip
    results = []
    for i, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        for mask, label in zip(target.masks.numpy(), target.labels.tolist(), strict=True):
            if mask.any():
                truth["annotations"].append(
                    {
                        "id": len(truth["annotations"]) + 1,
                        "image_id": i,
                        "category_id": label,
                        "segmentation": coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))),
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                    }
                )
        for mask, label, score in zip(
            prediction.masks.numpy(), prediction.labels.tolist(), prediction.scores.tolist(), strict=True
        ):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            results.append({"image_id": i, "category_id": label, "segmentation": rle, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.params.iouThrs = np.array(THRESHOLDS)
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, 0, -1]
    return precision.mean(1)


def metric_for(num_categories: int) -> InstanceAveragePrecision:
    return InstanceAveragePrecision(
        isthing=[True] * num_categories, thresholds=THRESHOLDS, max_detections=100
    )


def test_equals_pycocotools() -> None:
    predictions, targets = make_images(12, 10, (40, 56), 3)
    metric = metric_for(4)  # class 3 never occurs
    for start in range(0, 12, 5):
        metric.update(predictions[start : start + 5], targets[start : start + 5])
    result, expected = metric.compute(), pycocotools_precision(predictions, targets, 4)
    assert result.by_category[:, :3].numpy() == pytest.approx(expected[:, :3], abs=1e-12)
    assert (expected[:, 3] == -1).all()
    assert result.by_category[:, 3].isnan().all()
    assert result.mean.numpy() == pytest.approx(expected[:, :3].mean(1), abs=1e-12)
    assert result.num_images == 12
    assert 0.02 < result.mean[10] < result.mean[5] < 0.95


def test_equals_torchmetrics_where_every_image_has_truth() -> None:
    # torchmetrics forgets the detections in images without truth; pycocotools, above, does not.
    predictions, targets = make_images(8, 10, (100, 100), 2)
    shown = [bool(target.masks.any()) for target in targets]
    predictions, targets = list(compress(predictions, shown)), list(compress(targets, shown))
    metric = metric_for(2)
    metric.update(predictions, targets)
    mean = metric.compute().mean
    for threshold in (0.1, 0.5, 0.75):
        reference = MeanAveragePrecision(
            iou_type="segm", iou_thresholds=[threshold], backend="faster_coco_eval"
        )
        reference.update(
            [{"masks": p.masks, "labels": p.labels, "scores": p.scores} for p in predictions],
            [{"masks": t.masks, "labels": t.labels} for t in targets],
        )
        assert float(mean[THRESHOLDS.index(threshold)]) == pytest.approx(
            float(reference.compute()["map"]), abs=1e-6
        )


def test_only_the_best_detections_count() -> None:
    ids = torch.zeros(8, 8, dtype=torch.int64)
    ids[:4, :4] = 1
    target = PanopticSegmentation(ids, torch.tensor([0]))
    wrong = torch.zeros(3, 8, 8, dtype=torch.bool)
    wrong[:, 6:, 6:] = True
    prediction = InstanceSegmentation(
        torch.cat([wrong, target.masks]),
        torch.zeros(4, dtype=torch.int64),
        torch.tensor([0.9, 0.8, 0.7, 0.6]),
    )
    for max_detections, expected in ((3, 0.0), (4, 0.25)):
        metric = InstanceAveragePrecision(isthing=[True], thresholds=[0.5], max_detections=max_detections)
        metric.update([prediction], [target])
        assert metric.compute().by_category.tolist() == [[expected]]


def test_stuff_is_left_out() -> None:
    target = PanopticSegmentation(torch.tensor([[1, 1, 2, 2]]), torch.tensor([0, 1]))
    prediction = InstanceSegmentation(target.masks, torch.tensor([0, 1]), torch.tensor([0.5, 0.5]))
    metric = InstanceAveragePrecision(isthing=[True, False], thresholds=THRESHOLDS, max_detections=100)
    metric.update([prediction], [target])
    result = metric.compute()
    assert result.by_category[:, 0].tolist() == [1.0] * 19
    assert result.by_category[:, 1].isnan().all()
    assert result.mean.tolist() == [1.0] * 19


def test_void_is_left_out() -> None:
    # The first detection is the truth and as much void; the second, surer one is mostly void.
    target = PanopticSegmentation(torch.tensor([[1, 1, -1, -1, 0, -1]]), torch.tensor([0]))
    masks = torch.tensor([[[1, 1, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1]]], dtype=torch.bool)
    metric = metric_for(1)
    metric.update([InstanceSegmentation(masks, torch.tensor([0, 0]), torch.tensor([0.5, 0.9]))], [target])
    assert metric.compute().mean.tolist() == [1.0] * 19


def test_empty_images() -> None:
    none = InstanceSegmentation(
        torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    )
    nothing = PanopticSegmentation(torch.zeros(4, 4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    something = PanopticSegmentation(torch.ones(4, 4, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    metric = metric_for(2)
    metric.update([none], [nothing])
    assert metric.compute().mean.isnan().all()
    metric.update([none], [something])
    assert metric.compute().mean.tolist() == [0.0] * 19
    metric.reset()
    found = InstanceSegmentation(something.masks, something.labels, torch.tensor([0.3]))
    metric.update([none, found], [nothing, something])
    result = metric.compute()
    assert result.by_category[:, 0].tolist() == [1.0] * 19
    assert result.num_images == 2


def test_equal_scores_in_two_processes_are_taken_in_the_order_of_one() -> None:
    predictions, targets = make_images(7, 10, (40, 56), 2)
    for prediction in predictions:
        prediction.scores = torch.full_like(prediction.scores, 0.5)
    one = metric_for(2)
    one.update(predictions, targets)
    # What torchmetrics gathers: the states of the first process, then those of the second.
    shares = [metric_for(2), metric_for(2)]
    for rank, share in enumerate(shares):
        share.update(predictions[rank::2], targets[rank::2])
    gathered = metric_for(2)
    for name in one.metric_state:
        setattr(gathered, name, [*getattr(shares[0], name), *getattr(shares[1], name)])
    assert torch.equal(gathered.compute().by_category, one.compute().by_category)
    # The order does matter here, so that the test can fail.
    backwards = metric_for(2)
    backwards.update(predictions[::-1], targets[::-1])
    assert not torch.equal(backwards.compute().by_category, one.compute().by_category)


def test_equal_scores_are_taken_by_the_numbers_of_the_images_as_in_coco() -> None:
    predictions, targets = make_images(7, 10, (40, 56), 2)
    for prediction in predictions:
        prediction.scores = torch.full_like(prediction.scores, 0.5)
    expected = pycocotools_precision(predictions, targets, 2)
    for order in ([3, 0, 6, 1, 5, 2, 4], [6, 5, 4, 3, 2, 1, 0]):
        metric = metric_for(2)
        for image in order:
            metric.update([predictions[image]], [targets[image]], [100 + image])
        np.testing.assert_allclose(metric.compute().by_category.numpy(), expected, rtol=0, atol=1e-12)


def test_wrong_sizes_are_refused() -> None:
    predictions, targets = make_images(1, 2, (20, 24), 2)
    targets[0].segment_ids = targets[0].segment_ids.T
    with pytest.raises(ValueError, match="one size"):
        metric_for(2).update(predictions, targets)


def test_with_all_classes_as_one_it_is_that_of_relabelled_masks() -> None:
    """Pycocotools on the same masks with one label, of which each mask given twice counts once."""
    predictions, targets = make_images(6, 5, (40, 50), 3)
    doubled = [
        InstanceSegmentation(
            torch.cat([each.masks, each.masks]),
            torch.cat([each.labels, (each.labels + 1) % 3]),
            torch.cat([each.scores, each.scores / 2 - 1e-3]).clamp(min=0),
        )
        for each in predictions
    ]
    metric = InstanceAveragePrecision(
        isthing=[True] * 3, thresholds=THRESHOLDS, max_detections=100, class_agnostic=True
    )
    metric.update(doubled, targets)
    alone = [
        InstanceSegmentation(each.masks, torch.zeros_like(each.labels), each.scores) for each in predictions
    ]
    relabelled = [each.of_one_class() for each in targets]
    expected = pycocotools_precision(alone, relabelled, 1)[:, 0]
    found = metric.compute().class_agnostic
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert not np.allclose(expected, metric.compute().mean.numpy(), atol=1e-3)
