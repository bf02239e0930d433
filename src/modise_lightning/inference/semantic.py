"""Semantic result: how much of each class every pixel shows."""

from __future__ import annotations

from torch import Tensor

from modise_lightning.inference.tiles import Tile


class SemanticAccumulator:
    """Sums class times mask probability over queries (Mask2Former, as in MaskFormer section 3.4)."""

    def __init__(self, class_probabilities: Tensor, size: tuple[int, int]) -> None:
        """Start with an empty result.

        Args:
            class_probabilities: (Q, K), without "no object".
            size: Height and width of the result.
        """
        self._weights = class_probabilities.T
        self._result = class_probabilities.new_empty(class_probabilities.shape[1], *size)

    def add(self, tile: Tile, probabilities: Tensor) -> None:
        """Fill in a tile.

        Args:
            tile: Its place.
            probabilities: (Q, h, w) of the masks.
        """
        sums = self._weights @ probabilities.flatten(1)
        self._result[:, tile.rows, tile.columns] = sums.view(-1, *probabilities.shape[1:])

    def result(self) -> Tensor:
        """Give (K, H, W); at least 0, and above 1 where several sure queries overlap."""
        return self._result
