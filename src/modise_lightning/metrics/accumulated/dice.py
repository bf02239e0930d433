"""Dice coefficient of semantic predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from modise_lightning.metrics.accumulated.exact_sum import from_parts, to_parts
from modise_lightning.structures import PanopticSegmentation


class DiceResult:
    """Dice of an evaluation set.

    (No dataclass: torchmetrics would squeeze the tensors in it where K is 1.)

    Attributes:
        by_category: (K,) float64; NaN for a class that occurs neither in truth nor in prediction.
        mean: () float64, mean over the classes that occur; NaN when none does.
    """

    def __init__(self, by_category: Tensor) -> None:
        """Average over the classes."""
        self.by_category = by_category
        self.mean = by_category.nanmean()


class SegmentationDice(Metric):
    """Dice 2 |A and B| / (|A| + |B|) of each class, from the arg-max over classes and background.

    A semantic prediction has a channel for each class but none for the background, whose score is what the
    classes leave of 1: a pixel belongs to its best class where that class's value is larger. What is surely
    a lesion is so none of the background, even if no class is sure. Void pixels are left out.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    numerator_parts: Tensor
    denominator: Tensor

    def __init__(
        self,
        *,
        num_categories: int,
        reduction: Literal["pooled", "by_image"],
    ) -> None:
        """Set what is counted.

        Args:
            num_categories: K.
            reduction: ``pooled`` counts pixels over the whole evaluation set; ``by_image`` averages, for each
                class, the Dice of the images in which it occurs in truth or prediction.
        """
        super().__init__()
        self.num_categories = num_categories
        self.reduction = reduction
        # Parts of sums (exact_sum): averages by image are sums of fractions.
        shape = (3, num_categories)
        self.add_state("numerator_parts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("denominator", torch.zeros(num_categories, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, semantic: Sequence[Tensor], targets: Sequence[PanopticSegmentation]) -> None:
        """Count the pixels of some images.

        Args:
            semantic: (K, H, W) values of each image.
            targets: Truth of the same images at the same sizes.

        Raises:
            ValueError: Numbers or sizes differ.
        """
        for values, target in zip(semantic, targets, strict=True):
            expected = (self.num_categories, *target.segment_ids.shape)
            if values.shape != expected:
                raise ValueError(
                    f"semantic must be {expected} (classes and the target's size); it is "
                    f"{tuple(values.shape)}."
                )
            counts = count_pixels(values, target)
            both, sizes = (count.to(self.device) for count in counts)
            if self.reduction == "pooled":
                self.numerator_parts += to_parts(2 * both.double())
                self.denominator += sizes
            else:
                self.numerator_parts += to_parts(torch.where(sizes > 0, 2 * both.double() / sizes, 0.0))
                self.denominator += sizes > 0

    def compute(self) -> DiceResult:
        """Divide the sums."""
        return DiceResult(from_parts(self.numerator_parts) / self.denominator)


def count_pixels(semantic: Tensor, target: PanopticSegmentation) -> tuple[Tensor, Tensor]:
    """Count what the Dice coefficient of one image is made of.

    Args:
        semantic: (K, H, W) values.
        target: Truth of the same size.

    Returns:
        |A and B| and |A| + |B| of each class, each (K,) int64.
    """
    background = len(semantic)
    best, predicted = semantic.max(0)
    predicted = predicted.masked_fill(best <= 1 - semantic.sum(0), background)
    class_of_id = torch.cat([target.labels.new_full((1,), background), target.labels])
    true = class_of_id[target.segment_ids.clamp(min=0)]
    classes = background + 1
    # Void pixels get a bin of their own behind all others, which is then cut off.
    joint = torch.where(target.segment_ids < 0, classes * classes, predicted * classes + true)
    histogram = torch.bincount(joint.flatten(), minlength=classes * classes + 1)[:-1].view(classes, classes)
    sizes = histogram.sum(0) + histogram.sum(1)
    return histogram.diagonal()[:background], sizes[:background]
