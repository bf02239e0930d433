"""The core of multi-scale deformable attention (Zhu et al. 2021, equation 3): by Triton on GPUs, else plain.

Shapes use B images, S tokens of all levels together, Q queries, P points a head samples on each level.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from modise_lightning.c_compiler import has_c_compiler

# PyTorch brings Triton along on Linux with CUDA; elsewhere the plain formulation is all there is.
_TRITON_IS_THERE = find_spec("triton") is not None
_CAN_BUILD = has_c_compiler()


@dataclass(frozen=True)
class Levels:
    """Sizes of the feature maps whose tokens follow each other in a sequence.

    Attributes:
        shapes: (height, width) of each level.
        sizes: (levels, 2) float32 (or float64), (width, height) as sampling locations have them.
    """

    shapes: tuple[tuple[int, int], ...]
    sizes: Tensor

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]], device: torch.device, dtype: torch.dtype) -> Levels:
        """Lay levels out one after the other, for values of a type."""
        return cls(
            tuple(shapes),
            # bfloat16 has no 257.
            torch.tensor(
                [(width, height) for height, width in shapes],
                dtype=torch.promote_types(dtype, torch.float32),
                device=device,
            ),
        )


def sample(value: Tensor, levels: Levels, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of the values by attention weight.

    Args:
        value: (B, S, heads, channels).
        levels: Which of the S tokens belong to which level.
        locations: (B, Q, heads, levels, P, 2) as (x, y), in [0, 1] inside the map; outside it values are 0.
        weights: (B, Q, heads, levels, P) attention weights.

    Returns:
        (B, Q, heads * channels), in the values' type.

    Raises:
        ValueError: If the levels have not S tokens together.
    """
    counts = [height * width for height, width in levels.shapes]
    if sum(counts) != value.shape[1]:
        raise ValueError(f"the levels {levels.shapes} have {sum(counts)} tokens, the values {value.shape[1]}")
    if _takes_kernel(value):
        from modise_lightning.mask_generator import deformable_attention_triton as kernel

        result: Tensor = kernel.sample(value, levels.sizes, locations, weights)
        return result
    return sample_by_grid(value, levels, locations, weights)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _must_be_deterministic() -> bool:
    """Ask PyTorch, once for a compiled graph: the compiler of version 2.10 cannot look into the question."""
    return torch.are_deterministic_algorithms_enabled()


def _takes_kernel(value: Tensor) -> bool:
    """Tell whether the kernels can compute it; they sum in float32."""
    fits = (
        _TRITON_IS_THERE
        and value.is_cuda
        and value.dtype != torch.float64
        # Atomic additions have no fixed order; the plain formulation tells what PyTorch says then.
        and not _must_be_deterministic()
    )
    if fits and not _CAN_BUILD:
        warnings.warn(
            "Deformable attention runs without its Triton kernels, several times slower: Triton needs a C "
            "compiler, and there is neither gcc nor clang (or set CC).",
            stacklevel=2,
        )
        return False
    return fits


def sample_by_grid(value: Tensor, levels: Levels, locations: Tensor, weights: Tensor) -> Tensor:
    """Call ``grid_sample`` once a level."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    counts = [height * width for height, width in levels.shapes]
    # Locations keep their type: half a cell of a map of 128 is less than bfloat16 can tell.
    dtype = torch.promote_types(value.dtype, locations.dtype)
    # Copied once for all levels, so that the rest needs no copies; images and heads are one axis. Points come
    # before queries: products and sums then run along the queries, which are many.
    grids = (2 * locations.to(dtype) - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    attention = weights.to(dtype).permute(3, 0, 2, 4, 1).flatten(1, 2)
    maps = value.to(dtype).permute(0, 2, 3, 1).flatten(0, 1).split_with_sizes(counts, dim=2)
    parts = []
    for level, shape in enumerate(levels.shapes):
        image = maps[level].view(batch * heads, channels, *shape)
        sampled = F.grid_sample(
            image, grids[level], mode="bilinear", padding_mode="zeros", align_corners=False
        )
        # A product and a sum: as an einsum the gradient is many tiny outer products.
        parts.append((sampled * attention[level, :, None]).sum(2))
    result = reduce(torch.add, parts).to(value.dtype)
    return result.view(batch, heads * channels, queries).transpose(1, 2)
