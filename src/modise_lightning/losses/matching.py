"""Matches queries with ground-truth segments at the least cost (DETR, Carion et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import pad, softplus

from modise_lightning.losses.point_sampling import sample_points
from modise_lightning.structures import SegmenterOutput

UNMATCHED = -1


class HungarianMatcher:
    """Matches all predictions of all images; their costs are computed together and leave the device once."""

    def __init__(self, *, class_cost: float, mask_cost: float, dice_cost: float, num_points: int) -> None:
        """Set the weights of the three costs.

        Args:
            class_cost: Of the negative probability of the segment's class.
            mask_cost: Of the mean binary cross-entropy.
            dice_cost: Of the Dice loss.
            num_points: Random points an image at which masks are compared.
        """
        self.class_cost = class_cost
        self.mask_cost = mask_cost
        self.dice_cost = dice_cost
        self.num_points = num_points

    @torch.no_grad()
    def __call__(
        self,
        output: SegmenterOutput,
        masks: Sequence[Tensor],
        labels: Sequence[Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Match.

        Args:
            output: L predictions of B images.
            masks: For each image (N_b, H, W) float ground truth.
            labels: For each image (N_b,) class indices.
            generator: Of random numbers, on the device of the output; PyTorch's own if None.

        Returns:
            (L, sum of N_b) int64: the query of each segment, or ``UNMATCHED`` where there are fewer queries
            than segments; segments in the order of the images.
        """
        counts = [len(own) for own in labels]
        num_predictions = len(output.class_logits)
        if not sum(counts):
            return torch.empty(num_predictions, 0, dtype=torch.int64, device=output.class_logits.device)
        costs = self.costs(output, masks, labels, generator)
        # A query that is no number is the last choice: the assignment itself refuses such costs.
        worst = torch.finfo(costs.dtype).max
        on_cpu = costs.nan_to_num(nan=worst, posinf=worst, neginf=worst).cpu().numpy()
        matched = np.full((num_predictions, sum(counts)), UNMATCHED)
        first = 0
        for image, count in enumerate(counts):
            for prediction in range(num_predictions):
                queries, segments = linear_sum_assignment(on_cpu[prediction, image, :, :count])
                matched[prediction, first + segments] = queries
            first += count
        result, device = torch.from_numpy(matched), output.class_logits.device
        # From page-locked memory the copy waits for nothing.
        return (
            result.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else result.to(device)
        )

    def costs(
        self,
        output: SegmenterOutput,
        masks: Sequence[Tensor],
        labels: Sequence[Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Compute the cost of each query for each segment.

        Returns:
            (L, B, Q, N) with N the largest number of segments of an image; meaningless behind an image's own.
        """
        num_predictions, num_images, num_queries = output.class_logits.shape[:3]
        most = max(len(own) for own in labels)
        device = output.mask_features.device
        # One set of points an image, shared by all its masks and predictions. Sampling is linear: the mask
        # features are sampled instead of the masks, which need not exist.
        points = torch.rand(num_images, self.num_points, 2, device=device, generator=generator)
        features = sample_points(output.mask_features.float(), points)  # (B, C, P)
        logits = output.mask_embeddings.float().transpose(0, 1).flatten(1, 2) @ features  # (B, L * Q, P)
        truth = torch.stack(
            [
                pad(sample_points(own[None], points[image, None])[0], (0, 0, 0, most - len(own)))
                for image, own in enumerate(masks)
            ]
        ).transpose(1, 2)  # (B, P, N)
        # BCE(x, t) = softplus(x) - x t.
        mask_cost = (softplus(logits).sum(-1, keepdim=True) - logits @ truth) / self.num_points
        probabilities = logits.sigmoid()
        total = probabilities.sum(-1, keepdim=True) + truth.sum(1)[:, None]
        dice_cost = 1 - (2 * (probabilities @ truth) + 1) / (total + 1)
        by_mask = self.mask_cost * mask_cost + self.dice_cost * dice_cost
        by_mask = by_mask.view(num_images, num_predictions, num_queries, most).transpose(0, 1)
        classes = torch.stack([pad(own, (0, most - len(own))) for own in labels])  # (B, N)
        classes = classes[None, :, None].expand(num_predictions, -1, num_queries, -1)
        class_cost = -output.class_logits.float().softmax(-1).gather(-1, classes)
        total_cost: Tensor = by_mask + self.class_cost * class_cost
        return total_cost
