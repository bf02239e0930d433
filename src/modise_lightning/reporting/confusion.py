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
    segments = records.instances.assign(label=records.instances["category"].map(label))
    truth = segments[segments["source"] == "truth"]
    prediction = segments[segments["source"] == source]
    overlaps = records.overlaps
    pairs = _pair(overlaps[(overlaps["source"] == source) & (overlaps["iou"] > threshold)])
    keys = ["image_id", "index"]
    of_truth, of_prediction = (
        pd.MultiIndex.from_frame(each[keys]).get_indexer(pd.MultiIndex.from_frame(pairs[["image_id", index]]))
        for each, index in ((truth, "true_index"), (prediction, "predicted_index"))
    )
    true, predicted = (each["label"].to_numpy(np.int64) for each in (truth, prediction))
    np.add.at(counts, (true[of_truth], predicted[of_prediction]), 1)
    missed = np.ones(len(true), dtype=np.bool_)
    missed[of_truth] = False
    invented = (prediction["void_area"] <= MAX_VOID_SHARE * prediction["area"]).to_numpy(copy=True)
    invented[of_prediction] = False
    counts[:, -1] += np.bincount(true[missed], minlength=len(names))
    counts[-1] += np.bincount(predicted[invented], minlength=len(names))
    return Confusion(names, counts, threshold)


def _pair(overlaps: pd.DataFrame) -> pd.DataFrame:
    """Choose pairs: those whose segments have no other partner, and in each image the best of the rest."""
    is_alone = ~overlaps.duplicated(["image_id", "true_index"], keep=False)
    is_alone &= ~overlaps.duplicated(["image_id", "predicted_index"], keep=False)
    chosen = [
        (image_id, true, predicted)
        for image_id, rows in overlaps[~is_alone].groupby("image_id")
        for true, predicted in _assign(rows)
    ]
    columns = ["image_id", "true_index", "predicted_index"]
    return pd.concat([overlaps.loc[is_alone, columns], pd.DataFrame(chosen, columns=columns, dtype="int64")])


def _assign(pairs: pd.DataFrame) -> list[tuple[int, int]]:
    """Choose pairs (true index, predicted index) of one image."""
    true, rows = np.unique(pairs["true_index"].to_numpy(), return_inverse=True)
    predicted, columns = np.unique(pairs["predicted_index"].to_numpy(), return_inverse=True)
    iou = np.zeros((len(true), len(predicted)))
    iou[rows, columns] = pairs["iou"].to_numpy()
    chosen = zip(*linear_sum_assignment(iou, maximize=True), strict=True)
    return [(int(true[row]), int(predicted[column])) for row, column in chosen if iou[row, column] > 0]
