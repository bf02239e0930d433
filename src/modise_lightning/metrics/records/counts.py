"""Panoptic quality of each image at any IoU threshold, from the records of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.segments.functional import PanopticCounts, count_matches
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.metrics.segments.pairs import SegmentOverlaps, SegmentPairs


@dataclass(frozen=True)
class RecordedPairs:
    """The segments of one image, and which of them overlap.

    Attributes:
        pairs: The overlapping pairs of the same class; their indices are rows of the tables.
        prediction: N rows of ``EvaluationRecords.instances``, the panoptic segments.
        truth: M rows, the true ones.
    """

    pairs: SegmentPairs
    prediction: pd.DataFrame
    truth: pd.DataFrame


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
    label_of_name = {name: label for label, name in enumerate(category_names)}
    truths = _by_image(instances[instances["source"] == "truth"])
    predictions = _by_image(instances[instances["source"] == "panoptic"])
    pairs = _by_image(overlaps[overlaps["source"] == "panoptic"])
    nothing, no_pair = instances.iloc[:0], overlaps.iloc[:0]
    for image_id in image_ids:
        truth, prediction = truths.get(image_id, nothing), predictions.get(image_id, nothing)
        pair = pairs.get(image_id, no_pair)
        segment_overlaps = SegmentOverlaps(
            iou=_tensor(pair["iou"]),
            # Segments without pixels have no row, so that indices have gaps; positions have none.
            prediction=_positions(prediction["index"], pair["predicted_index"]),
            truth=_positions(truth["index"], pair["true_index"]),
            area=_tensor(prediction["area"]),
            void_area=_tensor(prediction["void_area"]),
            truth_area=_tensor(truth["area"]),
        )
        labels = [_labels(frame["category"], label_of_name) for frame in (prediction, truth)]
        yield RecordedPairs(segment_overlaps.of_one_class(*labels), prediction, truth)


def _by_image(frame: pd.DataFrame) -> dict[int, pd.DataFrame]:
    return {int(rows["image_id"].iloc[0]): rows for _, rows in frame.groupby("image_id")}


def _tensor(column: pd.Series) -> torch.Tensor:
    return torch.from_numpy(np.array(column))


def _labels(column: pd.Series, label_of_name: Mapping[str, int]) -> torch.Tensor:
    unknown = set(column) - set(label_of_name)
    if unknown:
        raise UserError(
            f"the records hold the category '{min(unknown)}', which is none of {list(label_of_name)}; "
            "they are of another evaluation."
        )
    return torch.tensor([label_of_name[name] for name in column], dtype=torch.int64)


def _positions(known: pd.Series, wanted: pd.Series) -> torch.Tensor:
    order: NDArray[np.int64] = np.asarray(known, dtype=np.int64)
    return torch.from_numpy(np.searchsorted(order, np.asarray(wanted, dtype=np.int64)))
