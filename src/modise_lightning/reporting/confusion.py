"""Which class the predicted segments have where a true segment is, from the records of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.pairs import MAX_VOID_SHARE

NOTHING = "nothing"


@dataclass(frozen=True)
class Confusion:
    """Counts of segments by true and predicted class.

    Attributes:
        names: The K classes, and ``nothing``.
        counts: (K + 1, K + 1) int64, true by predicted; the last row holds predictions where nothing is, the
            last column what nothing was predicted for.
        threshold: The IoU that a pair exceeds.
    """

    names: list[str]
    counts: NDArray[np.int64]
    threshold: float


def count_confusion(
    records: EvaluationRecords,
    *,
    category_names: Sequence[str],
    threshold: float,
    source: Literal["panoptic", "instance"] = "panoptic",
) -> Confusion:
    """Pair true and predicted segments whatever their classes, and count the pairs by class.

    In each image each segment is in one pair at most, and the sum of the pairs' IoU is the largest. An
    unpaired prediction that is void by more than half is no false positive, as in panoptic quality.

    Args:
        records: Of an evaluation.
        category_names: Name of each of the K classes.
        threshold: The IoU that a pair has to exceed, in [0, 1).
        source: Which predictions.
    """
    names = [*category_names, NOTHING]
    label = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    segments = records.instances[records.instances["source"].isin(["truth", source])]
    overlaps = records.overlaps
    overlaps = overlaps[(overlaps["source"] == source) & (overlaps["iou"] > threshold)]
    pairs_of = {int(rows["image_id"].iloc[0]): rows for _, rows in overlaps.groupby("image_id")}
    for _, rows in segments.groupby("image_id"):
        truth, prediction = rows[rows["source"] == "truth"], rows[rows["source"] == source]
        true = {
            int(index): label[name] for index, name in zip(truth["index"], truth["category"], strict=True)
        }
        predicted = {
            int(index): label[name]
            for index, name in zip(prediction["index"], prediction["category"], strict=True)
        }
        for true_index, predicted_index in _assign(pairs_of.get(int(rows["image_id"].iloc[0]))):
            counts[true.pop(true_index), predicted.pop(predicted_index)] += 1
        for missed in true.values():
            counts[missed, -1] += 1
        on_void = prediction["void_area"] > MAX_VOID_SHARE * prediction["area"]
        ignored = set(prediction.loc[on_void, "index"])
        for index, invented in predicted.items():
            counts[-1, invented] += index not in ignored
    return Confusion(names, counts, threshold)


def _assign(pairs: pd.DataFrame | None) -> list[tuple[int, int]]:
    """Choose pairs (true index, predicted index) of one image."""
    if pairs is None:
        return []
    true, rows = np.unique(pairs["true_index"].to_numpy(), return_inverse=True)
    predicted, columns = np.unique(pairs["predicted_index"].to_numpy(), return_inverse=True)
    iou = np.zeros((len(true), len(predicted)))
    iou[rows, columns] = pairs["iou"].to_numpy()
    chosen = zip(*linear_sum_assignment(iou, maximize=True), strict=True)
    return [(int(true[row]), int(predicted[column])) for row, column in chosen if iou[row, column] > 0]
