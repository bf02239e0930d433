"""The scored detections of an evaluation and which of them are correct, from its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.localisation import HitRule

# A detection with a larger share than this on void is left out, as in ``InstanceAveragePrecision``.
_MAX_VOID_SHARE = 0.5


@dataclass(frozen=True)
class Detections:
    """Scored detections and true segments of some images.

    Attributes:
        num_images: Number of images, those without any segment included.
        scores: (N,) in [0, 1].
        labels: (N,) class index of each detection.
        images: (N,) position of its image, from 0.
        truth_labels: (M,) class index of each true segment.
        truth_images: (M,) position of its image.
        pair_detection: (P,) for each pair of a detection and a true segment with a common pixel, whatever
            their classes: which detection.
        pair_truth: (P,) which true segment.
        pair_iou: (P,) intersection over union in (0, 1].
    """

    num_images: int
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    truth_labels: NDArray[np.int64]
    truth_images: NDArray[np.int64]
    pair_detection: NDArray[np.int64]
    pair_truth: NDArray[np.int64]
    pair_iou: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        records: EvaluationRecords,
        *,
        category_names: Sequence[str],
        isthing: Sequence[bool],
        source: Literal["instance", "panoptic"],
        max_detections: int,
        rule: HitRule = "mask_iou",
    ) -> Detections:
        """Read them from the records of an evaluation, by image.

        Args:
            records: Of an evaluation.
            category_names: Name of each of the K classes.
            isthing: Whether each class's instances are told apart; segments of the others are left out.
            source: Which predictions.
            max_detections: Detections of an image and class that count, by score (COCO: 100).
            rule: What ``pair_iou`` holds: the IoU of masks or boxes, or 1 for each hit of another rule. Boxes
                and centres are known of instances only.

        Raises:
            UserError: The records hold another category, predictions without scores, or not what the rule
                needs.
        """
        segments = records.instances
        labels = _labels(segments["category"], category_names)
        segments = segments.assign(label=labels)[np.asarray(isthing, dtype=np.bool_)[labels]]
        predictions = segments[segments["source"] == source]
        if predictions["score"].isna().any():
            raise UserError(f"the records hold {source} segments without scores; they cannot be ranked.")
        predictions = predictions[predictions["void_area"] <= _MAX_VOID_SHARE * predictions["area"]]
        ranked = predictions.sort_values("score", ascending=False, kind="stable")
        rank = ranked.groupby(["image_id", "label"]).cumcount()
        predictions = predictions.loc[np.sort(rank.index[rank < max_detections])]
        truths = segments[segments["source"] == "truth"]
        overlaps = _agreements(records, source, rule)
        detection = _positions(predictions, overlaps[["image_id", "predicted_index"]])
        truth = _positions(truths, overlaps[["image_id", "true_index"]])
        kept = (detection >= 0) & (truth >= 0)
        position = pd.Index(records.images["image_id"])
        return cls(
            num_images=len(records.images),
            scores=predictions["score"].to_numpy(np.float64),
            labels=predictions["label"].to_numpy(np.int64),
            images=position.get_indexer(pd.Index(predictions["image_id"])).astype(np.int64),
            truth_labels=truths["label"].to_numpy(np.int64),
            truth_images=position.get_indexer(pd.Index(truths["image_id"])).astype(np.int64),
            pair_detection=detection[kept],
            pair_truth=truth[kept],
            pair_iou=overlaps["iou"].to_numpy(np.float64)[kept],
        )

    def match(self, threshold: float) -> NDArray[np.bool_]:
        """Say which detections are correct as COCO's evaluation does.

        From the highest score down, each detection takes the true segment of its image and class with the
        largest IoU among those that no other has taken, if that IoU is at least the threshold.

        Args:
            threshold: In [0, 1].

        Returns:
            (N,).
        """
        same_class = self.labels[self.pair_detection] == self.truth_labels[self.pair_truth]
        pairs = np.flatnonzero(same_class & (self.pair_iou >= threshold))
        # Of equal scores the earlier detection goes first, of equal IoU the later truth (COCO).
        order = np.lexsort(
            (
                -self.pair_truth[pairs],
                -self.pair_iou[pairs],
                self.pair_detection[pairs],
                -self.scores[self.pair_detection[pairs]],
            )
        )
        matched = np.zeros(len(self.scores), dtype=np.bool_)
        taken = np.zeros(len(self.truth_labels), dtype=np.bool_)
        for pair in pairs[order].tolist():
            detection, truth = self.pair_detection[pair], self.pair_truth[pair]
            if not matched[detection] and not taken[truth]:
                matched[detection] = taken[truth] = True
        return matched


def pool_detections(parts: Sequence[Detections]) -> Detections:
    """Put the detections of several evaluations together; an image of two of them counts twice.

    Args:
        parts: At least one.
    """
    detections = np.cumsum([0, *(len(part.scores) for part in parts)])
    truths = np.cumsum([0, *(len(part.truth_labels) for part in parts)])
    images = np.cumsum([0, *(part.num_images for part in parts)])
    return Detections(
        num_images=sum(part.num_images for part in parts),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        images=np.concatenate([part.images + start for part, start in zip(parts, images, strict=False)]),
        truth_labels=np.concatenate([part.truth_labels for part in parts]),
        truth_images=np.concatenate(
            [part.truth_images + start for part, start in zip(parts, images, strict=False)]
        ),
        pair_detection=np.concatenate(
            [part.pair_detection + start for part, start in zip(parts, detections, strict=False)]
        ),
        pair_truth=np.concatenate(
            [part.pair_truth + start for part, start in zip(parts, truths, strict=False)]
        ),
        pair_iou=np.concatenate([part.pair_iou for part in parts]),
    )


def _agreements(
    records: EvaluationRecords, source: Literal["instance", "panoptic"], rule: HitRule
) -> pd.DataFrame:
    """Give the pairs of a rule, with its agreement as ``iou``."""
    if rule in ("mask_iou", "any_overlap"):
        overlaps = records.overlaps[records.overlaps["source"] == source]
        return overlaps if rule == "mask_iou" else overlaps.assign(iou=1.0)
    if records.clinical is None or source != "instance":
        raise UserError(f"the records do not hold what {rule} needs: evaluate with metrics=clinical.")
    places = records.clinical.localisations
    if rule == "box_iou":
        return places.assign(iou=places["box_iou"])
    return places[places["centre_inside"] == 1].assign(iou=1.0)


def _labels(column: pd.Series, category_names: Sequence[str]) -> NDArray[np.int64]:
    labels = pd.Index(category_names).get_indexer(pd.Index(column))
    if (labels < 0).any():
        raise UserError(
            f"the records hold the category '{column.iloc[int(np.argmin(labels))]}', which is none of "
            f"{list(category_names)}; they are of another evaluation."
        )
    return np.asarray(labels, dtype=np.int64)


def _positions(segments: pd.DataFrame, wanted: pd.DataFrame) -> NDArray[np.int64]:
    """Find the row of each wanted (image, index) among the segments; -1 where there is none."""
    known = pd.MultiIndex.from_frame(segments[["image_id", "index"]])
    return np.asarray(known.get_indexer(pd.MultiIndex.from_frame(wanted)), dtype=np.int64)
