"""The core of multi-scale deformable attention (Zhu et al. 2021, equation 3) in plain PyTorch.

Shapes use B images, S tokens of all levels together, Q queries, P points a head samples on each level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """Sizes of the feature maps whose tokens follow each other in a sequence.

    Attributes:
        shapes: (height, width) of each level.
        sizes: (levels, 2) float, (width, height) as sampling locations have them.
    """

    shapes: tuple[tuple[int, int], ...]
    sizes: Tensor

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Levels:
        """Lay levels out one after the other."""
        return cls(
            tuple(shapes),
            torch.tensor([(width, height) for height, width in shapes], dtype=dtype, device=device),
        )


def sample(value: Tensor, levels: Levels, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of the values by attention weight.

    Args:
        value: (B, S, heads, channels).
        levels: Which of the S tokens belong to which level.
        locations: (B, Q, heads, levels, P, 2) as (x, y), in [0, 1] inside the map; outside it values are 0.
        weights: (B, Q, heads, levels, P) attention weights.

    Returns:
        (B, Q, heads * channels).
    """
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    # Copied once for all levels, so that the rest needs no copies; images and heads are one axis.
    grids = (2 * locations.to(value.dtype) - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    attention = weights.to(value.dtype).permute(3, 0, 2, 1, 4).flatten(1, 2)
    counts = [height * width for height, width in levels.shapes]
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split_with_sizes(counts, dim=2)
    result = value.new_zeros(batch * heads, channels, queries)
    for level, shape in enumerate(levels.shapes):
        image = maps[level].view(batch * heads, channels, *shape)
        sampled = F.grid_sample(
            image, grids[level], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        # A product and a sum: as an einsum the gradient is many tiny outer products.
        result = result + (sampled * attention[level, :, None]).sum(-1)
    return result.view(batch, heads * channels, queries).transpose(1, 2)
