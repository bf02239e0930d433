"""What an evaluation found in each image at the reported IoU threshold: its segments and their matches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from modise_lightning.metrics.records.counts import (
    RecordedSegments,
    pair_recorded_segments,
    slices_of_images,
)
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.matching import Matching, match


@dataclass(frozen=True)
class SegmentOutcome:
    """A true or predicted segment.

    Attributes:
        index: Its position among the image's true or panoptic segments.
        category: Its class.
        score: In [0, 1]; NaN for truth.
        area: Pixels.
        iou: Of its match; NaN without one.
        is_void: Whether it lies in void by more than half and so is no false positive, though unmatched.
    """

    index: int
    category: str
    score: float
    area: int
    iou: float
    is_void: bool

    @property
    def matched(self) -> bool:
        """Whether it has a match."""
        return not math.isnan(self.iou)


@dataclass(frozen=True)
class ImageOutcome:
    """An image with its segments.

    Attributes:
        image_id: In its dataset.
        file_name: In its dataset.
        fold: The test fold that has it.
        truth: True segments.
        predicted: Panoptic segments.
        num_matches: Pairs of them (true positives).
        iou: Mean over matches, missed segments (0) and false positives (0), in [0, 1]; NaN where nothing is
            there and nothing is predicted.
        dice: As recorded, in [0, 1]; NaN likewise.
        strata: Kind and level of each stratum that it belongs to, as far as its records say.
    """

    image_id: int
    file_name: str
    fold: int
    truth: tuple[SegmentOutcome, ...]
    predicted: tuple[SegmentOutcome, ...]
    num_matches: int
    iou: float
    dice: float
    strata: tuple[tuple[str, str], ...] = ()

    @property
    def num_missed(self) -> int:
        """True segments without a match (false negatives)."""
        return sum(not segment.matched for segment in self.truth)

    @property
    def num_false_positives(self) -> int:
        """Predicted segments without a match, those in void aside."""
        return sum(not segment.matched and not segment.is_void for segment in self.predicted)


def image_outcomes(
    records: EvaluationRecords,
    *,
    fold: int,
    category_names: Sequence[str],
    threshold: float,
    matching: Matching,
) -> list[ImageOutcome]:
    """Match the segments of each image as the panoptic quality of the tables does.

    Args:
        records: Of one fold's test images.
        fold: That fold.
        category_names: Name of each class.
        threshold: IoU threshold; a match has a larger IoU.
        matching: How segments are matched where it is not unique; see ``matching.match``.

    Raises:
        UserError: The records hold another category.
    """
    images = records.images
    recorded = pair_recorded_segments(
        records.instances,
        records.overlaps,
        image_ids=images["image_id"].tolist(),
        category_names=category_names,
    )
    pairs = recorded.pairs
    matched = match(pairs, [threshold], matching)[0]
    iou = pairs.iou[matched]
    truths = _segments(recorded.truth, pairs.truth[matched], iou, pairs.truth_counts)
    predictions = _segments(recorded.prediction, pairs.prediction[matched], iou, pairs.prediction_counts)
    image_of_match = recorded.truth.image[pairs.truth[matched].numpy()]
    outcomes = []
    for image_id, file_name, dice, true, predicted, own in zip(
        images["image_id"],
        images["file_name"],
        images["dice"],
        slices_of_images(recorded.truth.image, len(images)),
        slices_of_images(recorded.prediction.image, len(images)),
        slices_of_images(image_of_match, len(images)),
        strict=True,
    ):
        outcome = ImageOutcome(
            image_id=int(image_id),
            file_name=str(file_name),
            fold=fold,
            truth=tuple(truths[true]),
            predicted=tuple(predictions[predicted]),
            num_matches=own.stop - own.start,
            iou=math.nan,
            dice=float(dice),
        )
        counted = outcome.num_matches + outcome.num_missed + outcome.num_false_positives
        mean = float(iou[own].sum()) / counted if counted else math.nan
        outcomes.append(replace(outcome, iou=mean))
    return outcomes


def _segments(
    segments: RecordedSegments, matched: Tensor, iou: Tensor, counts: Tensor
) -> list[SegmentOutcome]:
    # Under the matching of panopticapi a segment can have several matches: its largest IoU is shown.
    best: dict[int, float] = {}
    for position, value in zip(matched.tolist(), iou.tolist(), strict=True):
        best[position] = max(value, best.get(position, 0.0))
    columns = (segments.index, segments.category, segments.score, segments.area)
    rows = zip(*(column.tolist() for column in columns), counts.tolist(), strict=True)
    return [
        SegmentOutcome(index, category, score, area, best.get(position, math.nan), not counted)
        for position, (index, category, score, area, counted) in enumerate(rows)
    ]
