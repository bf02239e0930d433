"""COCO average precision of instance masks at any IoU thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor
from torchmetrics import Metric

from modise_lightning.metrics.segments.run_length import coco_run_length, encode_masks, unpack_codes
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation

# A detection with a larger share than this on void is left out, like a prediction in panopticapi.
_MAX_VOID_SHARE = 0.5

# Shape of a row and type of each state.
_STATES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    # Height, width, number of detections, number of truths, place in the order of the images.
    "images": ((5,), torch.int64),
    "detections": ((2,), torch.int64),  # class, length of the mask's code
    "detection_scores": ((), torch.float64),
    "detection_codes": ((), torch.uint8),
    "truths": ((2,), torch.int64),  # class, length of the mask's code
    "truth_codes": ((), torch.uint8),
}


class AveragePrecisionResult:
    """Average precision of an evaluation set at T thresholds for K classes.

    (No dataclass: torchmetrics would squeeze the tensors in it where T and K are 1.)

    Attributes:
        by_category: (T, K) float64; NaN for stuff and for a class without truth.
        mean: (T,) float64, mean over the other classes; NaN when there is none.
        num_images: Number of images.
        class_agnostic: (T,) float64, with all thing classes as one; None where it was not asked for.
    """

    def __init__(self, by_category: Tensor, num_images: int, class_agnostic: Tensor | None = None) -> None:
        """Average over the classes."""
        self.class_agnostic = class_agnostic
        self.by_category = by_category
        self.mean = by_category.nanmean(1)
        self.num_images = num_images


class InstanceAveragePrecision(Metric):
    """COCO average precision of the thing classes: 101 recall points, the best-scored detections of an image.

    Masks are kept as run lengths and evaluated by faster-coco-eval. Void pixels are left out of every mask,
    and a detection that is void by more than half is left out.

    Where detections of different images have equal scores, COCO's result depends on the order of the images.
    That is by their numbers, as in COCO and in the records; of images without numbers, each process's first
    image, then each one's second, and so on.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    images: list[Tensor]

    def __init__(
        self,
        *,
        isthing: Sequence[bool],
        thresholds: Sequence[float],
        max_detections: int,
        class_agnostic: bool = False,
    ) -> None:
        """Set what is computed.

        Args:
            isthing: For each of the K classes, whether its instances are told apart; the others are left out.
            thresholds: T IoU thresholds; a match has at least this IoU (COCO).
            max_detections: Detections that count, by score, for an image and class (COCO: 100).
            class_agnostic: Whether it is also computed with all thing classes as one. A mask that was given
                several classes is then one detection, with the largest of its scores.
        """
        super().__init__()
        self.isthing = tuple(isthing)
        self.thresholds = tuple(thresholds)
        self.max_detections = max_detections
        self.class_agnostic = class_agnostic
        for name in _STATES:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(
        self,
        predictions: Sequence[InstanceSegmentation],
        targets: Sequence[PanopticSegmentation],
        image_ids: Sequence[int] | None = None,
    ) -> None:
        """Keep the masks of some images.

        Args:
            predictions: One an image.
            targets: Truth of the same images at the same sizes.
            image_ids: Their numbers, given for all images or for none.

        Raises:
            ValueError: Numbers or sizes differ.
        """
        first = len(self.images)
        places = range(first, first + len(targets)) if image_ids is None else image_ids
        for prediction, target, place in zip(predictions, targets, places, strict=True):
            height, width = target.segment_ids.shape
            if prediction.packed.shape[1:] != (height, width):
                raise ValueError(
                    "prediction and truth must have one size; they are "
                    f"{prediction.packed.shape[1:]} and {(height, width)}."
                )
            isthing = torch.tensor(self.isthing, device=target.segment_ids.device)
            things = isthing[prediction.labels]
            prediction = _without_void(_select(prediction, things), target.segment_ids < 0)
            counted = isthing[target.labels] & (target.areas() > 0)
            num_detections, num_truths = len(prediction.labels), int(counted.sum())
            self._append("images", torch.tensor([[height, width, num_detections, num_truths, place]]))
            self._append_masks("detection", prediction.packed, prediction.labels)
            self._append("detection_scores", prediction.scores)
            truths = target.each_mask(torch.nonzero(counted).flatten().tolist())
            self._append_masks("truth", truths, target.labels[counted])

    def compute(self) -> AveragePrecisionResult:
        """Evaluate all images."""
        images = self._state("images")
        truths = self._annotations("truth", images[:, 3].tolist(), images)
        detections = self._annotations("detection", images[:, 2].tolist(), images)
        for detection, score in zip(detections, self._state("detection_scores").tolist(), strict=True):
            detection["score"] = score
        by_place = torch.argsort(images[:, 4], stable=True)
        truths, detections = (_reorder(annotations, by_place) for annotations in (truths, detections))
        images = images[by_place]
        by_category = self._by_category(images, truths, detections, len(self.isthing))
        class_agnostic = None
        if self.class_agnostic:
            truths, detections = _of_one_class(truths), _different_masks(_of_one_class(detections))
            class_agnostic = self._by_category(images, truths, detections, 1)[:, 0]
        return AveragePrecisionResult(by_category, len(images), class_agnostic)

    def _by_category(
        self,
        images: Tensor,
        truths: list[dict[str, Any]],
        detections: list[dict[str, Any]],
        num_categories: int,
    ) -> Tensor:
        if not truths:
            return torch.full((len(self.thresholds), num_categories), torch.nan, dtype=torch.float64)
        precision = self._coco_precision(images, truths, detections, num_categories)
        # COCO marks a class without truth by -1.
        return torch.where((precision < 0).any(1), torch.nan, precision.mean(1))

    def _coco_precision(
        self,
        images: Tensor,
        truths: list[dict[str, Any]],
        detections: list[dict[str, Any]],
        num_categories: int,
    ) -> Tensor:
        """Give the precision at each threshold, recall point and class, (T, 101, K)."""
        shared = {
            "images": [
                {"id": image, "height": width, "width": height}
                for image, (height, width) in enumerate(images[:, :2].tolist())
            ],
            "categories": [{"id": label, "name": str(label)} for label in range(num_categories)],
        }
        evaluation = COCOeval_faster(
            COCO({**shared, "annotations": truths}),
            COCO({**shared, "annotations": detections}),
            iouType="segm",
        )
        evaluation.params.iouThrs = np.asarray(self.thresholds, dtype=np.float64)
        evaluation.params.maxDets = [self.max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, float("inf")]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        return torch.from_numpy(np.asarray(evaluation.eval["precision"], dtype=np.float64)[..., 0, 0])

    def _annotations(self, kind: str, numbers: list[int], images: Tensor) -> list[dict[str, Any]]:
        """Unpack the masks of ``kind``, of which each image has the given number."""
        labels, lengths = self._state(f"{kind}s").unbind(1)
        image_of_row = torch.repeat_interleave(
            torch.arange(len(images)), torch.tensor(numbers, dtype=torch.int64)
        )
        rows = zip(
            image_of_row.tolist(),
            images[image_of_row, :2].tolist(),
            labels.tolist(),
            unpack_codes(self._state(f"{kind}_codes"), lengths),
            strict=True,
        )
        return [
            {
                "image_id": image,
                "category_id": label,
                "segmentation": coco_run_length(code, height, width),
                "area": 1,  # all sizes are evaluated together
                "iscrowd": 0,
            }
            for image, (height, width), label, code in rows
        ]

    def _append(self, name: str, values: Tensor) -> None:
        getattr(self, name).append(values.to(self.device, _STATES[name][1]))

    def _append_masks(self, kind: str, masks: Iterable[Tensor], labels: Tensor) -> None:
        codes, lengths = encode_masks(masks)
        self._append(f"{kind}s", torch.stack([labels.cpu(), lengths], 1))
        self._append(f"{kind}_codes", codes)

    def _state(self, name: str) -> Tensor:
        """Give a whole state, on the CPU; it is a list before the processes' states are gathered."""
        value: Tensor | list[Tensor] = getattr(self, name)
        shape, dtype = _STATES[name]
        if isinstance(value, list):
            value = torch.cat([torch.empty(0, *shape, dtype=dtype, device=self.device), *value])
        return value.cpu()

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        # A process without images must take part with empty tensors of the right shape and type; torchmetrics
        # would send float32.
        for name, (shape, dtype) in _STATES.items():
            if not getattr(self, name):
                setattr(self, name, [torch.empty(0, *shape, dtype=dtype, device=self.device)])
        super()._sync_dist(*args, **kwargs)


def _reorder(annotations: list[dict[str, Any]], images: Tensor) -> list[dict[str, Any]]:
    """Number the images anew, from 0 in the given order, and sort and number the annotations by them."""
    new = {old: number for number, old in enumerate(images.tolist())}
    moved = [{**annotation, "image_id": new[annotation["image_id"]]} for annotation in annotations]
    moved.sort(key=lambda annotation: int(annotation["image_id"]))
    # COCO's evaluation takes id 0 for "unmatched".
    return [{**annotation, "id": number} for number, annotation in enumerate(moved, start=1)]


def _of_one_class(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**annotation, "category_id": 0} for annotation in annotations]


def _different_masks(detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep of equal masks in an image the one with the largest score, at the first one's place."""
    best: dict[tuple[int, bytes], dict[str, Any]] = {}
    for detection in detections:
        key = (int(detection["image_id"]), bytes(detection["segmentation"]["counts"]))
        kept = best.get(key)
        best[key] = detection if kept is None or detection["score"] > kept["score"] else kept
    return [{**detection, "id": number} for number, detection in enumerate(best.values(), start=1)]


def _select(instances: InstanceSegmentation, chosen: Tensor) -> InstanceSegmentation:
    return InstanceSegmentation(instances.packed[chosen], instances.labels[chosen], instances.scores[chosen])


def _without_void(instances: InstanceSegmentation, void: Tensor) -> InstanceSegmentation:
    """Cut the void pixels out of all masks, and leave out those that were void by more than half."""
    if not void.any():
        return instances
    area = instances.packed.areas()
    cut = InstanceSegmentation(instances.packed.intersect(~void), instances.labels, instances.scores)
    return _select(cut, area - cut.packed.areas() <= _MAX_VOID_SHARE * area)
