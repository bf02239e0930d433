"""Panoptic quality of each image at any IoU threshold, from the records of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.segments.functional import PanopticCounts, count_matches
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.metrics.segments.pairs import SegmentOverlaps, SegmentPairs


@dataclass(frozen=True)
class RecordedSegments:
    """N rows of ``EvaluationRecords.instances``, which explains each: segments of one image.

    Attributes:
        index: (N,).
        category: (N,) names.
        label: (N,) class index of the category.
        score: (N,).
        area: (N,) pixels.
        void_area: (N,) pixels.
    """

    index: NDArray[np.int64]
    category: NDArray[np.object_]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    area: NDArray[np.int64]
    void_area: NDArray[np.int64]


@dataclass(frozen=True)
class RecordedPairs:
    """The segments of one image, and which of them overlap.

    Attributes:
        pairs: The overlapping pairs of the same class; their indices are positions in what follows.
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
) -> list[PanopticCounts]:
    """Match the panoptic segments of each image and count, as ``PanopticQualitySweep`` does.

    Args:
        instances: ``EvaluationRecords.instances``.
        overlaps: ``EvaluationRecords.overlaps``.
        image_ids: Images to count, in this order.
        category_names: Name of each of the K classes.
        thresholds: T IoU thresholds; a match has a larger IoU.
        matching: How segments are matched where it is not unique; see ``matching.match``.

    Returns:
        Counts of each image.

    Raises:
        UserError: The records hold another category.
    """
    recorded = pair_recorded_images(instances, overlaps, image_ids=image_ids, category_names=category_names)
    return [
        count_matches(
            each.pairs, num_categories=len(category_names), thresholds=thresholds, matching=matching
        )
        for each in recorded
    ]


def pair_recorded_images(
    instances: pd.DataFrame,
    overlaps: pd.DataFrame,
    *,
    image_ids: Sequence[int],
    category_names: Sequence[str],
) -> Iterator[RecordedPairs]:
    """Pair the panoptic segments of each image with its true ones.

    Args:
        instances: ``EvaluationRecords.instances``.
        overlaps: ``EvaluationRecords.overlaps``.
        image_ids: Images, in this order.
        category_names: Name of each of the K classes.

    Raises:
        UserError: The records hold another category.
    """
    truths = _ByImage(_segment_columns(instances[instances["source"] == "truth"], category_names))
    predictions = _ByImage(_segment_columns(instances[instances["source"] == "panoptic"], category_names))
    pairs = _ByImage(_columns(overlaps[overlaps["source"] == "panoptic"], _PAIR))
    for image_id in image_ids:
        truth = RecordedSegments(**truths.of(image_id))
        prediction, pair = RecordedSegments(**predictions.of(image_id)), pairs.of(image_id)
        segment_overlaps = SegmentOverlaps(
            iou=torch.from_numpy(pair["iou"]),
            # Segments without pixels have no row, so that indices have gaps; positions have none.
            prediction=_positions(prediction.index, pair["predicted_index"]),
            truth=_positions(truth.index, pair["true_index"]),
            area=torch.from_numpy(prediction.area),
            void_area=torch.from_numpy(prediction.void_area),
            truth_area=torch.from_numpy(truth.area),
        )
        labels = [torch.from_numpy(each.label) for each in (prediction, truth)]
        yield RecordedPairs(segment_overlaps.of_one_class(*labels), prediction, truth)


_PAIR = {"predicted_index": np.int64, "true_index": np.int64, "iou": np.float64}
_SEGMENT = {
    "index": np.int64,
    "category": np.object_,
    "score": np.float64,
    "area": np.int64,
    "void_area": np.int64,
}


class _ByImage:
    """The rows of each image as arrays: making a table of each would take far longer than its use."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Sort columns by their ``image_id``, which is left out of what is given."""
        order = np.argsort(columns["image_id"], kind="stable")
        self._ids = columns["image_id"][order]
        self._columns = {name: column[order] for name, column in columns.items() if name != "image_id"}

    def of(self, image_id: int) -> dict[str, NDArray[Any]]:
        """Give the columns of one image, in their order."""
        first, last = np.searchsorted(self._ids, [image_id, image_id + 1])
        return {name: column[first:last] for name, column in self._columns.items()}


def _columns(frame: pd.DataFrame, types: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    named = {"image_id": np.int64, **types}
    return {name: np.array(frame[name], dtype=kind) for name, kind in named.items()}


def _segment_columns(frame: pd.DataFrame, category_names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Give the columns of segments, and their labels.

    Raises:
        UserError: The records hold another category.
    """
    columns = _columns(frame, _SEGMENT)
    label_of_name = {name: label for label, name in enumerate(category_names)}
    unknown = set(columns["category"]) - set(label_of_name)
    if unknown:
        raise UserError(
            f"the records hold the category '{min(unknown)}', which is none of {list(label_of_name)}; "
            "they are of another evaluation."
        )
    labels = [label_of_name[name] for name in columns["category"]]
    return {**columns, "label": np.array(labels, dtype=np.int64)}


def _positions(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.searchsorted(known, wanted))
