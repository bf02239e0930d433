"""Panoptic quality of each image at any IoU threshold, from the records of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.segments.functional import count_matches
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.metrics.segments.pairs import SegmentOverlaps, SegmentPairs


@dataclass(frozen=True)
class RecordedSegments:
    """N rows of ``EvaluationRecords.instances``, which explains each: segments of all images, by image.

    Attributes:
        image: (N,) position of its image, rising.
        index: (N,) rising in each image.
        category: (N,) names.
        label: (N,) class index of the category.
        score: (N,).
        area: (N,) pixels.
        void_area: (N,) pixels.
    """

    image: NDArray[np.int64]
    index: NDArray[np.int64]
    category: NDArray[np.object_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    area: NDArray[np.int64]
    void_area: NDArray[np.int64]


@dataclass(frozen=True)
class RecordedPairs:
    """The segments of all images, and which of them overlap.

    Attributes:
        pairs: The overlapping pairs of the same image and class, by image. Their indices are positions in
            what follows; their labels tell images apart too: image x K + class.
        prediction: The N panoptic segments.
        truth: The M true ones.
    """

    pairs: SegmentPairs
    prediction: RecordedSegments
    truth: RecordedSegments


def count_recorded_images(
    instances: pd.DataFrame,
    overlaps: pd.DataFrame,
    *,
    image_ids: Sequence[int],
    category_names: Sequence[str],
    thresholds: Sequence[float],
    matching: Matching,
) -> NDArray[np.float64]:
    """Match the panoptic segments of each image and count, as ``PanopticQualitySweep`` does.

    Args:
        instances: ``EvaluationRecords.instances``.
        overlaps: ``EvaluationRecords.overlaps``.
        image_ids: Images to count, in this order, each once.
        category_names: Name of each of the K classes.
        thresholds: T IoU thresholds; a match has a larger IoU.
        matching: How segments are matched where it is not unique; see ``matching.match``.

    Returns:
        (I, T, 4, K) true positives, false positives, false negatives and IoU sum of each image.

    Raises:
        UserError: The records hold another category.
    """
    recorded = pair_recorded_segments(instances, overlaps, image_ids=image_ids, category_names=category_names)
    shape = (len(thresholds), len(image_ids), len(category_names))
    counts = count_matches(
        recorded.pairs, num_categories=shape[1] * shape[2], thresholds=thresholds, matching=matching
    )
    parts = (counts.true_positives, counts.false_positives, counts.false_negatives, counts.iou_sum)
    by_threshold = np.stack([part.double().view(shape).numpy() for part in parts], axis=2)
    return np.ascontiguousarray(by_threshold.swapaxes(0, 1))


def pair_recorded_segments(
    instances: pd.DataFrame,
    overlaps: pd.DataFrame,
    *,
    image_ids: Sequence[int],
    category_names: Sequence[str],
) -> RecordedPairs:
    """Pair the panoptic segments of images with their true ones.

    Args:
        instances: ``EvaluationRecords.instances``.
        overlaps: ``EvaluationRecords.overlaps``.
        image_ids: Images, in this order, each once.
        category_names: Name of each of the K classes.

    Raises:
        UserError: The records hold another category.
    """
    images = pd.Index(image_ids)
    truth, prediction = (
        _segments(instances[instances["source"] == source], images, category_names)
        for source in ("truth", "panoptic")
    )
    panoptic = overlaps[overlaps["source"] == "panoptic"]
    pair = _of_images(panoptic, images, _PAIR, ["image", "predicted_index", "true_index"])
    segment_overlaps = SegmentOverlaps(
        iou=torch.from_numpy(pair["iou"]),
        # Segments without pixels have no row, so that indices have gaps; positions have none.
        prediction=_positions(prediction, pair["image"], pair["predicted_index"]),
        truth=_positions(truth, pair["image"], pair["true_index"]),
        area=torch.from_numpy(prediction.area),
        void_area=torch.from_numpy(prediction.void_area),
        truth_area=torch.from_numpy(truth.area),
    )
    labels = [torch.from_numpy(each.image * len(category_names) + each.label) for each in (prediction, truth)]
    pairs = segment_overlaps.of_one_class(*labels)
    image = torch.from_numpy(truth.image)[pairs.truth]
    return RecordedPairs(replace(pairs, image=image), prediction, truth)


def slices_of_images(image: NDArray[np.int64], num_images: int) -> list[slice]:
    """Give where the rows of each image are.

    Args:
        image: (N,) position of each row's image, rising.
        num_images: How many there are.
    """
    bounds = np.searchsorted(image, np.arange(num_images + 1)).tolist()
    return [slice(*bound) for bound in pairwise(bounds)]


_PAIR = {"predicted_index": np.int64, "true_index": np.int64, "iou": np.float64}
_SEGMENT = {
    "index": np.int64,
    "category": np.object_,
    "score": np.float64,
    "area": np.int64,
    "void_area": np.int64,
}


def _of_images(
    frame: pd.DataFrame, images: pd.Index, types: Mapping[str, Any], sorted_by: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Give the rows of images as columns, one of them the position of their ``image``, and sort them."""
    image = images.get_indexer(pd.Index(frame["image_id"])).astype(np.int64)
    columns = {"image": image, **{name: np.array(frame[name], dtype=kind) for name, kind in types.items()}}
    order = np.lexsort([columns[name] for name in reversed(sorted_by)])
    order = order[np.searchsorted(image[order], 0) :]  # without those of other images
    return {name: column[order] for name, column in columns.items()}


def _segments(frame: pd.DataFrame, images: pd.Index, category_names: Sequence[str]) -> RecordedSegments:
    """Give the segments of images.

    Raises:
        UserError: The records hold another category.
    """
    label = pd.Index(category_names).get_indexer(pd.Index(frame["category"]))
    if (label < 0).any():
        raise UserError(
            f"the records hold the category '{min(frame['category'][label < 0])}', which is none of "
            f"{list(category_names)}; they are of another evaluation."
        )
    types = {**_SEGMENT, "label": np.int64}
    return RecordedSegments(**_of_images(frame.assign(label=label), images, types, ["image", "index"]))


def _positions(
    segments: RecordedSegments, image: NDArray[np.int64], index: NDArray[np.int64]
) -> torch.Tensor:
    """Find the segments of these images and indices, which are there."""
    # Ranks stand for indices, which a stranger's file may make so large that a product would overflow.
    distinct = np.unique(segments.index)
    known, wanted = (
        images * len(distinct) + np.searchsorted(distinct, indices)
        for images, indices in ((segments.image, segments.index), (image, index))
    )
    return torch.from_numpy(np.searchsorted(known, wanted))
