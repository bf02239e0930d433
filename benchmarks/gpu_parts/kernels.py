"""The kernels of deformable attention against the plain formulation, transformers' and the bandwidth."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from gpu_parts.record import Part
from gpu_parts.timing import median_seconds
from modise_lightning.mask_generator.deformable_attention import Levels, sample, sample_by_grid

# As in Mask2Former.
HEADS, CHANNELS, POINTS = 8, 32, 4
STRIDES = (32, 16, 8)
BATCH = 2


def measure(part: Part) -> None:
    """Measure the ceiling, then each size and number format, then other block sizes."""
    bandwidth = _copy_bandwidth(part)
    part.add("copying: bytes read and written", bandwidth / 1e12, "TB/s")
    dtypes = (torch.bfloat16, torch.float32)
    for size in (64,) if part.tiny else (1024, 512, 2048):
        for dtype in dtypes:
            if part.seconds_left > 8:
                _measure_size(part, size, dtype, bandwidth)
        if size == 1024 and part.device.type == "cuda":
            for dtype in dtypes:
                _sweep(part, size, dtype)


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


def _copy_bandwidth(part: Part) -> float:
    source = torch.randn((1 << 20) if part.tiny else (1 << 29), device=part.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), part, repeats=10)


def _measure_size(part: Part, size: int, dtype: torch.dtype, bandwidth: float) -> None:
    levels, inputs, gradient = make_inputs(size, BATCH, dtype, part.device)
    shapes = list(levels.shapes)
    sides: dict[str, Callable[..., Tensor]] = {
        "transformers": lambda value, *rest: multi_scale_deformable_attention(value, shapes, *rest),
        "plain": lambda value, *rest: sample_by_grid(value, levels, *rest),
        "library": lambda value, *rest: sample(value, levels, *rest),
    }
    forward, backward = {}, {}
    for side, run in sides.items():
        with torch.autocast(part.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            forward[side] = _median(part, lambda run=run: run(*inputs))
            result = run(*inputs)
        received = gradient.to(result.dtype)
        backward[side] = _median(
            part,
            lambda result=result, received=received: torch.autograd.grad(
                result, inputs, received, retain_graph=True
            ),
        )
        del result
    value, locations, weights = inputs
    # Each input read once, each output written once; the values' gradient is summed in float32.
    least = {
        "forward": value.nbytes + locations.nbytes + weights.nbytes + gradient.nbytes,
        "backward": gradient.nbytes
        + value.nbytes
        + 2 * (locations.nbytes + weights.nbytes)
        + 4 * value.numel()
        + value.nbytes,
    }
    name = f"deformable attention, {size} px, batch {BATCH}, {str(dtype).removeprefix('torch.')}"
    for direction, times in (("forward", forward), ("backward", backward)):
        ours = times["library"]
        part.add(f"{name}, {direction}", 1e6 * ours, "µs")
        for other, goal in (("plain", "at least 3x"), ("transformers", "")):
            part.add(
                f"{name}, {direction}: {other}",
                1e6 * times[other],
                "µs",
                beside="the library's",
                ratio=times[other] / ours,
                goal=goal,
            )
        share = least[direction] / bandwidth / ours
        part.add(
            f"{name}, {direction}: share of the copying bandwidth", 100 * share, "%", goal="at least 50 %"
        )


def _median(part: Part, run: Callable[[], object]) -> float:
    """Time the card's work alone: it is busy otherwise until all runs are queued, and waits for no launch."""
    if part.device.type == "cpu":
        return median_seconds(run, part, repeats=2, warmup=1)
    for _ in range(3):
        run()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(20)]
    torch.cuda._sleep(40_000_000)  # cycles: about 20 ms
    for start, end in events:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in events) / 1000


def _sweep(part: Part, size: int, dtype: torch.dtype) -> None:
    """Time the kernels alone over block sizes and warps."""
    from modise_lightning.mask_generator import deformable_attention_triton as kernel

    levels, inputs, gradient = make_inputs(size, BATCH, dtype, part.device)
    value, locations, weights = (each.detach() for each in inputs)
    batch, tokens, heads, channels = value.shape
    found: dict[str, list[tuple[float, str]]] = {"forward": [], "backward": []}
    written = [
        torch.zeros_like(value, dtype=torch.float32),
        torch.empty_like(locations),
        torch.empty_like(weights),
    ]
    for queries, warps in itertools.product((2, 4, 8, 16, 32), (1, 2, 4)):
        if part.seconds_left < 5:
            break
        settings: dict[str, Any] = {
            "tokens": tokens,
            "queries": tokens,
            "heads": heads,
            "channels": channels,
            "levels": len(levels.shapes),
            "points": locations.shape[4],
            "query_block": queries,
            "channel_block": channels,
            "num_warps": warps,
        }
        grid = (-(-tokens // queries) * batch * heads,)
        output = torch.empty_like(gradient)
        label = f"{queries} queries, {warps} warps"
        seconds = _median(
            part,
            lambda settings=settings, grid=grid, output=output: kernel._forward_kernel[grid](
                value, levels.sizes, locations, weights, output, **settings
            ),
        )
        found["forward"].append((seconds, label))
        seconds = _median(
            part,
            lambda settings=settings, grid=grid: kernel._backward_kernel[grid](
                gradient, value, levels.sizes, locations, weights, *written, **settings
            ),
        )
        found["backward"].append((seconds, label))
    for direction, times in found.items():
        for seconds, label in sorted(times)[:4]:
            kind = str(dtype).removeprefix("torch.")
            part.add(f"block sizes, {size} px, {kind}, {direction}: {label}", 1e6 * seconds, "µs")
