"""Panoptic result: each pixel belongs to at most one segment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.inference.tiles import Tile
from modise_lightning.structures import PanopticSegmentation


class PanopticAccumulator:
    """Lets the queries compete for the pixels (Mask2Former's panoptic inference).

    A pixel goes to the query with the highest score times mask probability, and stays empty when that query's
    own mask does not hold it. A query that wins too small a part of its mask is dropped. The mask test uses
    the probability without the score, so that a query with a low score can make a segment.
    """

    def __init__(
        self,
        class_probabilities: Tensor,
        no_object_probabilities: Tensor,
        size: tuple[int, int],
        *,
        isthing: Tensor,
        score_threshold: float,
        no_object_competes: bool,
        overlap_threshold: float,
        mask_threshold: float,
    ) -> None:
        """Choose the queries that take part.

        Args:
            class_probabilities: (Q, K), without "no object".
            no_object_probabilities: (Q,).
            size: Height and width of the result.
            isthing: (K,) bool; segments of one stuff class merge.
            score_threshold: Queries whose best class is not more probable take no part.
            no_object_competes: Whether queries whose "no object" is more probable take no part either.
            overlap_threshold: Least ratio of the pixels that a query wins to the pixels of its mask.
            mask_threshold: A pixel with at least this probability belongs to the mask.
        """
        scores, labels = class_probabilities.max(1)
        kept = scores > score_threshold
        if no_object_competes:
            # As an arg-max, which takes the first of equals; "no object" is the last class.
            kept &= scores >= no_object_probabilities
        self._kept = torch.nonzero(kept).flatten()
        self._scores, self._labels = scores[self._kept], labels[self._kept]
        self._isthing = isthing
        self._overlap_threshold = overlap_threshold
        self._mask_threshold = mask_threshold
        self._mask_area = torch.zeros(len(self._kept), dtype=torch.int64, device=scores.device)
        # Half of what indices need: there are hundreds of queries, and millions of pixels.
        self._winner = torch.zeros(size, dtype=torch.int32, device=scores.device)
        self._held = torch.zeros(size, dtype=torch.bool, device=scores.device)

    def add(self, tile: Tile, probabilities: Tensor) -> None:
        """Take in a tile.

        Args:
            tile: Its place.
            probabilities: (Q, h, w) of the masks.
        """
        if len(self._kept) == 0:
            return
        masks = probabilities[self._kept]
        winner = (masks * self._scores[:, None, None]).max(0).indices
        self._winner[tile.rows, tile.columns] = winner.int()
        self._held[tile.rows, tile.columns] = masks.gather(0, winner[None])[0] >= self._mask_threshold
        self._mask_area += (masks >= self._mask_threshold).flatten(1).sum(1)

    def result(self) -> PanopticSegmentation:
        """Give the segments in the order of their queries.

        Their scores are the class probabilities; that of merged ones is the highest.
        """
        num_kept = len(self._kept)
        # Pixels outside the winner's mask belong to a query behind all others, which makes no segment.
        won_area = torch.bincount(self._winner.flatten(), minlength=num_kept)[:num_kept]
        visible = self._winner.masked_fill_(~self._held, num_kept)
        visible_area = torch.bincount(visible.flatten(), minlength=num_kept + 1)[:num_kept]
        valid = (visible_area > 0) & (won_area / self._mask_area >= self._overlap_threshold)
        segment_of_query, first = _number_segments(self._labels, valid, self._isthing)
        segment_scores = self._scores.new_zeros(num_kept + 1)
        segment_scores.scatter_reduce_(0, segment_of_query, self._scores, "amax")
        labels = self._labels[first]
        segment_ids = functional.pad(segment_of_query, (0, 1)).index_select(0, visible.flatten())
        return PanopticSegmentation(segment_ids.view_as(visible), labels, segment_scores[1 : len(labels) + 1])


def _number_segments(labels: Tensor, valid: Tensor, isthing: Tensor) -> tuple[Tensor, Tensor]:
    """Number the valid queries' segments from 1 in their order; those of one stuff class share a number.

    Returns:
        (Q,) segment of each query, 0 for none; and (Q,) bool, whether it is the first of its segment.
    """
    if len(labels) == 0:
        return labels, labels.bool()
    order = torch.arange(len(labels), device=labels.device)
    merges = (labels[:, None] == labels[None]) & ~isthing[labels][:, None] & valid[None]
    same = merges | (order[:, None] == order[None])
    # argmax finds the first one: of a stuff class, its first valid query; of a thing, the query itself.
    leader = same.int().argmax(1)
    first = valid & (leader == order)
    segment = torch.where(valid, first.cumsum(0)[leader], 0)
    return segment, first
