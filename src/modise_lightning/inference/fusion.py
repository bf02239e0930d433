"""Fuses the masks that several members found in one image: matched by IoU, classes and masks averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modise_lightning.errors import UserError


@dataclass(frozen=True)
class FusionSettings:
    """How masks are fused; ``conf/fusion`` explains each.

    Attributes:
        iou_threshold: Least IoU of masks of different members that are one lesion, in (0, 1].
        minimum_score: Queries whose best class is less probable are left out, in [0, 1).
        weights: Of each member, above 0; None for equal ones.
        shared_gigabytes: Memory for what frozen parts computed, which members share.
    """

    iou_threshold: float
    minimum_score: float
    weights: Sequence[float] | None
    shared_gigabytes: float

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: Names the value that is out of its range.
        """
        weights = [1.0] if self.weights is None else list(self.weights)
        for name, value, fits, expected in (
            ("iou_threshold", self.iou_threshold, 0 < self.iou_threshold <= 1, "in (0, 1]"),
            ("minimum_score", self.minimum_score, 0 <= self.minimum_score < 1, "in [0, 1)"),
            ("weights", weights, all(0 < weight < float("inf") for weight in weights), "positive"),
            (
                "shared_gigabytes",
                self.shared_gigabytes,
                0 < self.shared_gigabytes < float("inf"),
                "positive",
            ),
        ):
            if not fits:
                raise UserError(f"fusion.{name} must be {expected}; found {value}.")


@dataclass(frozen=True)
class FusedQueries:
    """What several members say together of one image, as F queries.

    Attributes:
        class_probabilities: (F, K + 1), the last one "no object"; in the order of the seeds' scores.
        mask_weights: (F, N), each row adds up to 1: the fused masks are ``mask_weights @ masks``.
    """

    class_probabilities: Tensor
    mask_weights: Tensor


def fuse_queries(
    class_probabilities: Tensor,
    inside: Tensor,
    member: Sequence[int],
    weights: Sequence[float],
    iou_threshold: float,
) -> FusedQueries:
    """Match the queries of M members by the IoU of their masks, and average those that match.

    From the highest score (the most probable class) to the lowest, a query joins the group whose first query,
    its *seed*, overlaps it most, if their IoU is at least the threshold and the group has none of the same
    member yet; else it founds a group. Weighted boxes fusion (Solovyev et al. 2021) goes through boxes in
    this order; here it is masks, classes are averaged too instead of being matched apart, and each member
    says at most one thing of a lesion.

    With weights w that add up to 1, a group's class probabilities are the sum of w p over all members, of
    which those without a query in it say "no object" surely: a lesion that one of five finds keeps a fifth of
    its score. Its mask is the mean over its queries, weighted by w times score.

    Args:
        class_probabilities: (N, K + 1) of all members' queries, the last one "no object".
        inside: (N, P) bool, the pixels of each query's mask, on one grid.
        member: Of each query, in [0, M).
        weights: Of each of the M members, positive.
        iou_threshold: In (0, 1].
    """
    total = sum(weights)
    share = class_probabilities.new_tensor([weights[index] / total for index in member])
    scores = class_probabilities[:, :-1].max(1).values
    groups = _group(scores.tolist(), _intersection_over_union(inside).tolist(), member, iou_threshold)
    number, of_group = len(member), len(groups)
    belongs = class_probabilities.new_zeros(of_group, number)
    for row, group in enumerate(groups):
        belongs[row, group] = 1
    averaged = (belongs * share) @ class_probabilities
    averaged[:, -1] += (1 - belongs @ share).clamp(min=0)
    # Queries of score 0 still have a mask.
    mask_weights = belongs * share * scores.clamp(min=torch.finfo(scores.dtype).tiny ** 0.5)
    return FusedQueries(averaged, mask_weights / mask_weights.sum(1, keepdim=True))


def _intersection_over_union(inside: Tensor) -> Tensor:
    """Compare (N, P) masks: (N, N), 0 where both are empty."""
    pixels = inside.float()
    intersection = pixels @ pixels.T
    area = inside.sum(1)
    return intersection / (area[:, None] + area[None] - intersection).clamp(min=1)


def _group(
    scores: Sequence[float], iou: Sequence[Sequence[float]], member: Sequence[int], threshold: float
) -> list[list[int]]:
    groups: list[list[int]] = []
    for query in sorted(range(len(scores)), key=lambda index: -scores[index]):
        fitting = [
            group
            for group in groups
            if iou[query][group[0]] >= threshold and all(member[other] != member[query] for other in group)
        ]
        if fitting:
            max(fitting, key=lambda group: iou[query][group[0]]).append(query)
        else:
            groups.append([query])
    return groups
