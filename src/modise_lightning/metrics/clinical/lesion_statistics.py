"""Borders and Dice of lesions: means over the matched segments of a fold, and with misses counted as 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modise_lightning.metrics.patients.statistics import RatioOfSums, Values, sum_by_patient
from modise_lightning.metrics.records.counts import pair_recorded_segments
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.matching import Matching, match

# Of each pair; Dice follows from its IoU. With misses, what is missed or invented has 0 of them.
_SHARES = {"Dice": "dice", "surface Dice": "surface_dice", "boundary IoU": "boundary_iou"}
_DISTANCES = {"95 % Hausdorff distance": "hausdorff_95", "average surface distance": "average_distance"}
_PAIR = ["image_id", "predicted_index", "true_index"]


def matched_lesions(
    records: EvaluationRecords, category_names: Sequence[str], threshold: float, matching: Matching
) -> tuple[pd.DataFrame, Values]:
    """Match the segments of each image one to one, and measure the matches.

    Args:
        records: Clinical ones.
        category_names: Name of each of the K classes.
        threshold: A match has a larger IoU.
        matching: Of the evaluation; ``panopticapi``, which matches a segment several times below 0.5, is
            replaced by ``hungarian``.

    Returns:
        A row a match: ``image_id``, ``predicted_index``, ``true_index``, ``label``, ``iou``, ``dice`` and
        what ``boundaries`` holds; and of each image and class, (I, K), matches, misses and false positives.
    """
    assert records.clinical is not None
    one_to_one: Matching = "hungarian" if matching == "panopticapi" else matching
    image_ids = records.images["image_id"].to_numpy(np.int64)
    recorded = pair_recorded_segments(
        records.instances, records.overlaps, image_ids=image_ids.tolist(), category_names=category_names
    )
    pairs, truths = recorded.pairs, recorded.truth
    chosen = match(pairs, [threshold], one_to_one)[0].numpy()
    predicted, true = pairs.prediction.numpy()[chosen], pairs.truth.numpy()[chosen]
    unmatched, missed = pairs.prediction_counts.numpy().copy(), pairs.truth_counts.numpy().copy()
    unmatched[predicted] = False
    missed[true] = False
    lesions = np.zeros((len(image_ids), len(category_names)))
    for segments, own in ((truths, true), (recorded.prediction, unmatched), (truths, missed)):
        np.add.at(lesions, (segments.image[own], segments.label[own]), 1)
    matches = pd.DataFrame(
        {
            "image_id": image_ids[truths.image[true]],
            "predicted_index": recorded.prediction.index[predicted],
            "true_index": truths.index[true],
            "label": truths.label[true],
            "iou": pairs.iou.numpy()[chosen],
        }
    )
    matches["dice"] = 2 * matches["iou"] / (1 + matches["iou"])
    return matches.merge(records.clinical.boundaries, on=_PAIR, how="left", validate="one_to_one"), lesions


def unit_of_distances(matches: pd.DataFrame, threshold: float) -> tuple[str | None, str]:
    """Give the unit that the distances of all matches share, or None and why there is none.

    Args:
        matches: Of ``matched_lesions``.
        threshold: Of the matches.
    """
    units = sorted(set(matches["unit"]))
    if not units:
        return None, f"nothing is matched at T {threshold:g}"
    if len(units) > 1:
        return None, "some images have a spacing in millimetres and some have none"
    return units[0], ""


def lesion_statistics(
    records: EvaluationRecords,
    of_image: Sequence[str],
    category_names: Sequence[str],
    threshold: float,
    matching: Matching,
) -> tuple[dict[str, RatioOfSums], dict[str, str]]:
    """Build the means of a fold.

    Args:
        records: Clinical ones.
        of_image: Patient of each image.
        category_names: Name of each of the K classes.
        threshold: A match has a larger IoU.
        matching: See ``matched_lesions``.

    Returns:
        By name: ``matched ...`` over the matches; ``lesion-wise ...`` over matches, misses and false
        positives, which have 0 (as in BraTS 2023). Distances are in the unit that all matches share. And
        why there are no distances, where there are none.
    """
    matches, lesions = matched_lesions(records, category_names, threshold, matching)
    row = pd.Index(records.images["image_id"]).get_indexer(pd.Index(matches["image_id"]))
    label = matches["label"].to_numpy(np.int64)

    def summed(values: Values) -> Values:
        sums = np.zeros(lesions.shape)
        np.add.at(sums, (row, label), values)
        return sum_by_patient(of_image, sums)[1]

    patients, all_lesions = sum_by_patient(of_image, lesions)
    number = summed(np.ones(len(matches)))
    statistics = {}
    for name, column in _SHARES.items():
        total = summed(matches[column].to_numpy(np.float64))
        for kind, denominator in (("matched", number), ("lesion-wise", all_lesions)):
            statistics[f"{kind} {name}"] = RatioOfSums(f"{kind} {name}", patients, total, denominator)
    unit, reason = unit_of_distances(matches, threshold)
    if unit is None:
        return statistics, {"distances of borders": reason}
    for name, column in _DISTANCES.items():
        named = f"matched {name} ({unit})"
        total = summed(matches[column].to_numpy(np.float64))
        statistics[named] = RatioOfSums(named, patients, total, number)
    return statistics, {}
