"""The core of deformable attention on a GPU: Triton's kernels, the plain formulation and transformers'.

Run ``python benchmarks/deformable_attention_cuda.py`` where there is CUDA. All do forward and backward in
turns in one process, with the same inputs, of the sizes that the pixel decoder has; ratios are of medians.
Errors are those of the result and of the three gradients against float64: the largest of the four relative
norms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from modise_lightning.mask_generator.deformable_attention import Levels, sample, sample_by_grid

# As in Mask2Former.
HEADS, CHANNELS, POINTS = 8, 32, 4
STRIDES = (32, 16, 8)


def make_inputs(
    size: int, batch: int, dtype: torch.dtype, device: torch.device
) -> tuple[Levels, list[Tensor], Tensor]:
    """Make levels; values, locations and weights; and the gradient of the result."""
    levels = Levels.of([(size // stride,) * 2 for stride in STRIDES], device, dtype)
    places = []
    for height, width in levels.shapes:
        y, x = torch.meshgrid(
            (torch.arange(height, device=device) + 0.5) / height,
            (torch.arange(width, device=device) + 0.5) / width,
            indexing="ij",
        )
        places.append(torch.stack((x, y), dim=-1).flatten(0, 1))
    reference = torch.cat(places)
    tokens = len(reference)
    shape = (batch, tokens, HEADS, len(STRIDES), POINTS)
    # Some cells from the query's own place, as trained offsets are.
    offsets = 2 * torch.randn(*shape, 2, device=device) / levels.sizes[:, None]
    inputs = [
        torch.randn(batch, tokens, HEADS, CHANNELS, device=device, dtype=dtype),
        reference[:, None, None, None] + offsets,
        torch.randn(shape, device=device).flatten(-2).softmax(-1).view(shape).to(dtype),
    ]
    gradient = torch.randn(batch, tokens, HEADS * CHANNELS, device=device, dtype=dtype)
    return levels, [each.requires_grad_() for each in inputs], gradient


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Give the largest relative norm of the differences."""
    return max(
        ((one.double() - other).norm() / other.norm()).item()
        for one, other in zip(found, expected, strict=True)
    )


def measure(size: int, batch: int, dtype: torch.dtype, repeats: int, table: Table) -> None:
    """Time one setting and add its rows."""
    levels, inputs, gradient = make_inputs(size, batch, dtype, torch.device("cuda"))
    shapes = list(levels.shapes)
    sides: dict[str, Callable[..., Tensor]] = {
        "transformers": lambda value, *rest: multi_scale_deformable_attention(value, shapes, *rest),
        "plain": lambda value, *rest: sample_by_grid(value, levels, *rest),
        "Triton": lambda value, *rest: sample(value, levels, *rest),
    }

    def run(side: str, arguments: list[Tensor], received: Tensor) -> list[Tensor]:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=received.dtype == torch.bfloat16):
            result = sides[side](*arguments)
        return [result, *torch.autograd.grad(result, arguments, received.to(result.dtype))]

    exact = [each.detach().double().requires_grad_() for each in inputs]
    expected = run("transformers", exact, gradient.double())
    errors = {side: relative_error(run(side, inputs, gradient), expected) for side in sides}
    del exact, expected
    milliseconds: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    for repeat in range(repeats + 3):
        for side in sides:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run(side, inputs, gradient)
            end.record()
            torch.cuda.synchronize()
            memory[side] = (torch.cuda.max_memory_allocated() - before) / 2**20
            if repeat >= 3:  # The first ones warm up.
                milliseconds[side].append(start.elapsed_time(end))
    medians = {side: statistics.median(each) for side, each in milliseconds.items()}
    for side, median in medians.items():
        table.add_row(
            f"{size} px, batch {batch}, {str(dtype).removeprefix('torch.')}",
            side,
            f"{median:.2f}",
            f"{medians['transformers'] / median:.2f}",
            f"{memory[side]:.0f}",
            f"{errors[side]:.1e}",
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[512, 1024], help="pixels of the image's side"
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA device, and there is none.")
    torch.manual_seed(0)
    table = Table("setting", "core", "median ms", "times faster", "extra MiB at the peak", "relative error")
    for size in arguments.sizes:
        for dtype in (torch.float32, torch.bfloat16):
            measure(size, arguments.batch, dtype, arguments.repeats, table)
    Console().print(f"{torch.cuda.get_device_name()}, forward and backward")
    Console().print(table)


if __name__ == "__main__":
    main()
