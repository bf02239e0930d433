"""Counts the matches of one image under many settings, from queries that were predicted once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modise_lightning.inference.combining import CombinedImage
from modise_lightning.inference.panoptic import PanopticAccumulator
from modise_lightning.inference.placement import place_panoptic
from modise_lightning.metrics.patients.statistics import Values
from modise_lightning.metrics.segments.functional import panoptic_counts
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import PanopticSegmentation, Region
from modise_lightning.tuning.settings import Candidate


@torch.no_grad()
def segment(image: CombinedImage, candidates: Sequence[Candidate]) -> list[PanopticSegmentation]:
    """Make the segments of an image under each of some settings that share their views.

    The masks are upsampled once for each mask threshold, and settings by which the same queries take part are
    computed once.

    Args:
        image: With what all views show.
        candidates: Settings.

    Returns:
        The segments of each; the same object where they are the same.
    """
    made: dict[Candidate, PanopticSegmentation] = {}
    for mask_threshold in dict.fromkeys(candidate.mask_threshold for candidate in candidates):
        own = [candidate for candidate in candidates if candidate.mask_threshold == mask_threshold]
        made |= _segment_at(image, mask_threshold, own)
    return [made[candidate] for candidate in candidates]


def _segment_at(
    image: CombinedImage, mask_threshold: float, candidates: Sequence[Candidate]
) -> dict[Candidate, PanopticSegmentation]:
    fused = image.queries(mask_threshold)
    scores = fused.class_probabilities[:, :-1].max(1).values
    # What is told apart: which queries take part, and how much of its mask each must win.
    kinds = {
        candidate: (candidate.overlap_threshold, tuple((scores > candidate.score_threshold).tolist()))
        for candidate in candidates
    }
    first = {kind: candidate for candidate, kind in reversed(kinds.items())}
    accumulators = {
        kind: _accumulator(image, fused.class_probabilities, candidate) for kind, candidate in first.items()
    }
    for tile, probabilities in image.tiles(fused.mask_weights):
        for accumulator in accumulators.values():
            accumulator.add(tile, probabilities)
    results = {kind: accumulator.result() for kind, accumulator in accumulators.items()}
    return {candidate: results[kind] for candidate, kind in kinds.items()}


def _accumulator(
    image: CombinedImage, class_probabilities: Tensor, candidate: Candidate
) -> PanopticAccumulator:
    rules = image.rules
    return PanopticAccumulator(
        class_probabilities[:, :-1],
        class_probabilities[:, -1],
        image.output_size,
        isthing=torch.tensor(rules.isthing, device=class_probabilities.device),
        score_threshold=candidate.score_threshold,
        no_object_competes=rules.no_object_competes,
        overlap_threshold=candidate.overlap_threshold,
        mask_threshold=candidate.mask_threshold,
    )


def count_image(
    segmentations: Sequence[PanopticSegmentation],
    truth: PanopticSegmentation,
    region: Region,
    *,
    num_categories: int,
    threshold: float,
    matching: Matching,
) -> Values:
    """Count the matches of each of S segmentations of an image.

    Args:
        segmentations: Of the region.
        truth: Of the whole image.
        region: The part of the image that was predicted.
        num_categories: K.
        threshold: IoU that a match exceeds.
        matching: How segments are matched below 0.5.

    Returns:
        (S, 4, K) true positives, false positives, false negatives and IoU sum.
    """
    height, width = truth.segment_ids.shape
    known: dict[int, Values] = {}
    for segmentation in segmentations:
        if id(segmentation) not in known:
            counts = panoptic_counts(
                place_panoptic(segmentation, region, height, width),
                truth,
                num_categories=num_categories,
                thresholds=[threshold],
                matching=matching,
            )
            parts = (counts.true_positives, counts.false_positives, counts.false_negatives, counts.iou_sum)
            known[id(segmentation)] = np.stack([part[0].double().cpu().numpy() for part in parts])
    return np.stack([known[id(segmentation)] for segmentation in segmentations])
