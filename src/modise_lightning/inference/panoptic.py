"""Panoptic result: each pixel belongs to at most one segment."""

from __future__ import annotations

import torch
from torch import Tensor

from modise_lightning.structures import PanopticSegmentation


def panoptic_segmentation(
    class_probabilities: Tensor,
    mask_probabilities: Tensor,
    *,
    isthing: Tensor,
    score_threshold: float,
    overlap_threshold: float,
    mask_threshold: float,
) -> PanopticSegmentation:
    """Let the queries compete for the pixels (Mask2Former's panoptic inference).

    A pixel goes to the query with the highest score times mask probability, and stays empty when that query's
    own mask does not hold it. A query that wins too small a part of its mask is dropped. The mask test uses
    the probability without the score, so that a query with a low score can make a segment.

    Args:
        class_probabilities: (Q, K), without "no object".
        mask_probabilities: (Q, H, W).
        isthing: (K,) bool; segments of one stuff class merge.
        score_threshold: Queries whose best class is not more probable take no part.
        overlap_threshold: Least ratio of the pixels that a query wins to the pixels of its mask.
        mask_threshold: A pixel with at least this probability belongs to the mask.

    Returns:
        Segments in the order of their queries, scored by the class probability (of merged ones, the highest).
    """
    scores, labels = class_probabilities.max(1)
    kept = torch.nonzero(scores > score_threshold).flatten()
    scores, labels, masks = scores[kept], labels[kept], mask_probabilities[kept]
    num_kept, size = len(kept), mask_probabilities.shape[1:]
    if num_kept == 0:
        return PanopticSegmentation(torch.zeros(size, dtype=torch.int64, device=masks.device), labels, scores)

    winner = (masks * scores[:, None, None]).max(0).indices
    held = masks.gather(0, winner[None])[0] >= mask_threshold
    won_area = torch.bincount(winner.flatten(), minlength=num_kept)
    # Pixels outside the winner's mask are counted in a bin of their own behind all others.
    visible_area = torch.bincount(torch.where(held, winner, num_kept).flatten(), minlength=num_kept + 1)[:-1]
    mask_area = (masks >= mask_threshold).flatten(1).sum(1)
    valid = (visible_area > 0) & (won_area / mask_area >= overlap_threshold)

    segment_of_query, first = _number_segments(labels, valid, isthing)
    segment_scores = scores.new_zeros(num_kept + 1).scatter_reduce_(0, segment_of_query, scores, "amax")
    segment_ids = torch.where(held, segment_of_query[winner], 0)
    segment_labels = labels[first]
    return PanopticSegmentation(segment_ids, segment_labels, segment_scores[1 : len(segment_labels) + 1])


def _number_segments(labels: Tensor, valid: Tensor, isthing: Tensor) -> tuple[Tensor, Tensor]:
    """Number the valid queries' segments from 1 in their order; those of one stuff class share a number.

    Returns:
        (Q,) segment of each query, 0 for none; and (Q,) bool, whether it is the first of its segment.
    """
    order = torch.arange(len(labels), device=labels.device)
    merges = (labels[:, None] == labels[None]) & ~isthing[labels][:, None] & valid[None]
    same = merges | (order[:, None] == order[None])
    # argmax finds the first one: of a stuff class, its first valid query; of a thing, the query itself.
    leader = same.int().argmax(1)
    first = valid & (leader == order)
    segment = torch.where(valid, first.cumsum(0)[leader], 0)
    return segment, first
