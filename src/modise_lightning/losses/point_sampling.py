"""Samples masks at points instead of at all pixels (PointRend, Kirillov et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sample_points(masks: Tensor, points: Tensor) -> Tensor:
    """Interpolate masks bilinearly at points.

    Args:
        masks: (N, C, H, W) float.
        points: (N, P, 2) x and y in [0, 1], where 0 and 1 are the image's edges.

    Returns:
        (N, C, P).
    """
    return grid_sample(masks, 2 * points[:, :, None] - 1, align_corners=False)[..., 0]


@torch.no_grad()
def choose_uncertain_points(
    mask_logits: Tensor,
    *,
    num_points: int,
    oversample_ratio: float,
    importance_ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose points where masks are least certain, and some anywhere.

    Args:
        mask_logits: (N, 1, H, W).
        num_points: P, points a mask.
        oversample_ratio: Candidates for each point; the P * importance_ratio with logits nearest 0 are taken.
        importance_ratio: Share of points chosen for their uncertainty; the others are uniform.
        generator: Of random numbers, on the device of the logits; PyTorch's own if None.

    Returns:
        (N, P, 2) in [0, 1].
    """
    count, device = len(mask_logits), mask_logits.device
    num_candidates = int(num_points * oversample_ratio)
    candidates = torch.rand(count, num_candidates, 2, device=device, generator=generator)
    uncertainty = -sample_points(mask_logits, candidates)[:, 0].abs()
    num_uncertain = int(importance_ratio * num_points)
    chosen = uncertainty.topk(num_uncertain, dim=1).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    anywhere = torch.rand(count, num_points - num_uncertain, 2, device=device, generator=generator)
    return torch.cat([uncertain, anywhere], dim=1)
