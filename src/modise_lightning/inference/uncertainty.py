"""How undecided members are of each pixel, and how far they disagree."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modise_lightning.structures import PixelUncertainty


def binary_entropy(probability: Tensor) -> Tensor:
    """Give the entropy of a yes or no in bits, 0 to 1."""
    inverse = 1 - probability
    # xlogy is 0 where the probability is.
    nats: Tensor = torch.special.xlogy(probability, probability) + torch.special.xlogy(inverse, inverse)
    return nats / -math.log(2)


class UncertaintyAccumulator:
    """Adds up what members say of each pixel: whether it shows any lesion.

    The entropy of the members' mean is all of the uncertainty; what is left of it without the mean of their
    own entropies is their disagreement, the mutual information of pixel and member (Houlsby et al. 2011;
    Depeweg et al. 2018). Both are in bits, and disagreement is at least 0 and at most the entropy.
    """

    def __init__(self) -> None:
        """Start without a member."""
        self._probability: Tensor | None = None
        self._own_entropy: Tensor | None = None

    def add(self, shown: Tensor, share: float) -> None:
        """Take in a member.

        Args:
            shown: (H, W), what its things add up to in each pixel; clipped to [0, 1].
            share: Its weight; those of all members add up to 1.
        """
        probability = shown.clamp(0, 1)
        own_entropy = binary_entropy(probability)
        if self._probability is None or self._own_entropy is None:
            self._probability, self._own_entropy = share * probability, share * own_entropy
        else:
            self._probability += share * probability
            self._own_entropy += share * own_entropy

    def result(self) -> PixelUncertainty:
        """Give both maps."""
        assert self._probability is not None
        assert self._own_entropy is not None
        entropy = binary_entropy(self._probability.clamp(0, 1))
        return PixelUncertainty(entropy, (entropy - self._own_entropy).clamp(min=0))
