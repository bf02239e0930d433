"""Instance result: scored masks of the thing classes, which may overlap."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.inference.tiles import Tile
from modise_lightning.packed_masks import PackedMasks, empty_bits, pack_bits
from modise_lightning.structures import InstanceSegmentation


class InstanceAccumulator:
    """Takes the most probable query-class pairs as instances (Mask2Former).

    An instance's score is its class probability times the mean mask probability inside its mask. Pairs of
    stuff classes take up places but make no instance, as in Mask2Former; nor do empty masks (score 0).
    """

    def __init__(
        self,
        class_probabilities: Tensor,
        size: tuple[int, int],
        *,
        isthing: Tensor,
        max_instances: int,
        mask_threshold: float,
    ) -> None:
        """Choose the pairs.

        Args:
            class_probabilities: (Q, K), without "no object".
            size: Height and width of the result.
            isthing: (K,) bool.
            max_instances: Number of query-class pairs that are considered.
            mask_threshold: A pixel with a larger probability belongs to the mask.
        """
        num_queries, num_categories = class_probabilities.shape
        top = class_probabilities.flatten().topk(min(max_instances, num_queries * num_categories))
        label = top.indices % num_categories
        things = isthing[label]
        self._query = top.indices.div(num_categories, rounding_mode="floor")[things]
        self._label = label[things]
        self._score = top.values[things]
        self._candidates = torch.unique(self._query)
        self._width = size[1]
        self._threshold = mask_threshold
        self._least_logit = math.log(mask_threshold / (1 - mask_threshold))
        self._area = class_probabilities.new_zeros(num_queries)
        self._inside = class_probabilities.new_zeros(num_queries)
        # Masks of the candidates; an instance of the same query in another class has the same one.
        self._bits = empty_bits(len(self._candidates), *size, class_probabilities.device)

    def add(self, tile: Tile, probabilities: Tensor) -> None:
        """Take in a tile.

        Args:
            tile: Its place, and how large the logits in it are at most.
            probabilities: (Q, h, w) of the masks.
        """
        # Most masks are small: where a mask's logits are all below the threshold there is nothing to do.
        numbers = torch.nonzero(tile.largest[self._candidates] > self._least_logit).flatten()
        if len(numbers) == 0:
            return
        queries = self._candidates[numbers]
        inside = probabilities[queries]
        masks = inside > self._threshold
        # Bytes add up faster than bools; threshold sets the pixels outside the mask to 0.
        self._area[queries] += masks.view(torch.uint8).flatten(1).sum(1)
        self._inside[queries] += functional.threshold(inside, self._threshold, 0.0).flatten(1).sum(1)
        # A tile may begin inside a byte, of which its neighbour has the other pixels.
        packed = pack_bits(functional.pad(masks, (tile.columns.start % 8, 0)))
        first = tile.columns.start // 8
        self._bits[numbers, tile.rows, first : first + packed.shape[-1]] |= packed

    def result(self) -> InstanceSegmentation:
        """Give the instances from the highest to the lowest score."""
        kept = self._area[self._query] > 0
        query = self._query[kept]
        scores = self._score[kept] * (self._inside / self._area.clamp(min=1))[query]
        order = torch.argsort(scores, descending=True, stable=True)
        rows = torch.searchsorted(self._candidates, query[order])
        masks = PackedMasks(self._bits, rows, self._width)
        return InstanceSegmentation(masks=masks, labels=self._label[kept][order], scores=scores[order])
