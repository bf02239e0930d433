"""The core of multi-scale deformable attention (Zhu et al. 2021, equation 3) in plain PyTorch.

Shapes use B images, S tokens of all levels together, Q queries, P points a head samples on each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Formulation = Literal["grid_sample", "gather"]


@dataclass(frozen=True)
class Levels:
    """Sizes of the feature maps whose tokens follow each other in a sequence.

    Attributes:
        shapes: (height, width) of each level.
        sizes: (levels, 2) float, (width, height) as sampling locations have them.
        starts: (levels,) int64, index of each level's first token.
    """

    shapes: tuple[tuple[int, int], ...]
    sizes: Tensor
    starts: Tensor

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Levels:
        """Lay levels out one after the other."""
        counts = [height * width for height, width in shapes]
        return cls(
            tuple(shapes),
            torch.tensor([(width, height) for height, width in shapes], dtype=dtype, device=device),
            torch.tensor([sum(counts[:level]) for level in range(len(counts))], device=device),
        )


def sample(
    value: Tensor, levels: Levels, locations: Tensor, weights: Tensor, formulation: Formulation
) -> Tensor:
    """Sum bilinear samples of the values by attention weight.

    Args:
        value: (B, S, heads, channels).
        levels: Which of the S tokens belong to which level.
        locations: (B, Q, heads, levels, P, 2) as (x, y), in [0, 1] inside the map; outside it values are 0.
        weights: (B, Q, heads, levels, P) attention weights.
        formulation: How; the result is the same up to rounding.

    Returns:
        (B, Q, heads * channels).
    """
    compute = _sample_by_gather if formulation == "gather" else _sample_by_grid
    return compute(value, levels, locations, weights)


def _sample_by_grid(value: Tensor, levels: Levels, locations: Tensor, weights: Tensor) -> Tensor:
    """Call ``grid_sample`` once a level."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grids = 2 * locations.to(value.dtype) - 1
    maps = value.split_with_sizes([height * width for height, width in levels.shapes], dim=1)
    result = value.new_zeros(batch * heads, channels, queries)
    for level, (height, width) in enumerate(levels.shapes):
        image = maps[level].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)
        sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        attention = weights[:, :, :, level].transpose(1, 2).flatten(0, 1).to(value.dtype)
        result = result + torch.einsum("ncqp,nqp->ncq", sampled, attention)
    return result.view(batch, heads * channels, queries).transpose(1, 2)


def _sample_by_gather(value: Tensor, levels: Levels, locations: Tensor, weights: Tensor) -> Tensor:
    """Gather and sum the four corners of the points of all levels at once, without a temporary of samples."""
    batch, tokens, heads, channels = value.shape
    queries = locations.shape[1]
    sizes = levels.sizes[:, None]  # (levels, 1, 2)
    corners = torch.tensor([(0, 0), (1, 0), (0, 1), (1, 1)], dtype=sizes.dtype, device=sizes.device)
    place = locations * sizes - 0.5
    with torch.no_grad():
        first = place.floor()
        corner = first[..., None, :] + corners  # (B, Q, heads, levels, P, 4, 2)
        inside = ((corner >= 0) & (corner < sizes[..., None, :])).all(-1)
        # Far outside, an index would be no number of a row; its weight is 0 all the same.
        x, y = corner.clamp(min=0).minimum(sizes[..., None, :] - 1).long().unbind(-1)
        row = y * levels.sizes[:, 0].long()[:, None, None] + x + levels.starts[:, None, None]
        row += torch.arange(batch, device=row.device).view(-1, 1, 1, 1, 1, 1) * tokens
        row = row * heads + torch.arange(heads, device=row.device).view(1, 1, -1, 1, 1, 1)
    right, below = (place - first).unbind(-1)
    left, above = 1 - right, 1 - below
    bilinear = torch.stack((left * above, right * above, left * below, right * below), dim=-1)
    share = (weights[..., None] * bilinear).masked_fill(~inside, 0.0)
    bags = batch * queries * heads
    result = F.embedding_bag(
        row.view(bags, -1),
        value.reshape(-1, channels),
        mode="sum",
        per_sample_weights=share.reshape(bags, -1).to(value.dtype),
    )
    return result.view(batch, queries, heads * channels)
