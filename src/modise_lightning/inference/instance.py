"""Instance result: scored masks of the thing classes, which may overlap."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.inference.tiles import Tile
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
        self._size = size
        self._threshold = mask_threshold
        self._least_logit = math.log(mask_threshold / (1 - mask_threshold))
        self._area = class_probabilities.new_zeros(num_queries)
        self._inside = class_probabilities.new_zeros(num_queries)
        self._parts: list[tuple[Tile, Tensor, Tensor]] = []  # tile, its queries, their masks in it

    def add(self, tile: Tile, probabilities: Tensor) -> None:
        """Take in a tile.

        Args:
            tile: Its place, and how large the logits in it are at most.
            probabilities: (Q, h, w) of the masks.
        """
        # Most masks are small: where a mask's logits are all below the threshold there is nothing to do.
        queries = self._candidates[tile.largest[self._candidates] > self._least_logit]
        if len(queries) == 0:
            return
        inside = probabilities[queries]
        masks = inside > self._threshold
        # Bytes add up faster than bools; threshold sets the pixels outside the mask to 0.
        self._area[queries] += masks.view(torch.uint8).flatten(1).sum(1)
        self._inside[queries] += functional.threshold(inside, self._threshold, 0.0).flatten(1).sum(1)
        self._parts.append((tile, queries, masks))

    def result(self) -> InstanceSegmentation:
        """Give the instances from the highest to the lowest score."""
        kept = self._area[self._query] > 0
        query = self._query[kept]
        scores = self._score[kept] * (self._inside / self._area.clamp(min=1))[query]
        order = torch.argsort(scores, descending=True, stable=True)
        query = query[order]
        masks = _empty_masks(len(query), self._size, query.device)
        for tile, queries, parts in self._parts:
            instance, part = torch.nonzero(query[:, None] == queries[None], as_tuple=True)
            masks[instance, tile.rows, tile.columns] = parts[part]
        return InstanceSegmentation(masks=masks, labels=self._label[kept][order], scores=scores[order])


def _empty_masks(number: int, size: tuple[int, int], device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(number, *size, dtype=torch.bool, device=device)
    # Masks are mostly empty, and NumPy takes pages from the system that are zero without being written.
    return torch.from_numpy(np.zeros((number, *size), dtype=np.bool_))
