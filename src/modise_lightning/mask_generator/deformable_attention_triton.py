"""The core of multi-scale deformable attention (Zhu et al. 2021, equation 3) as Triton kernels, for GPUs.

A program sums all samples of one head for a block of queries, so that the samples never exist in memory.
Inputs are float32, bfloat16 or float16, each its own; sums are in float32. Shapes use B images, S tokens of
all levels together, Q queries, P points a head samples on each level.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx

# Bytes of one corner of all queries' samples that a program holds: a load of 16 bytes for each thread of one
# warp. On an H100 the best of 2 to 128 queries by 1, 2, 4 and 8 warps (benchmarks/gpu_parts/kernels.py).
_BYTES = 512
_WARPS = 1


@triton.jit  # type: ignore[untyped-decorator]
def _corner(
    column: tl.tensor, row: tl.tensor, width: tl.tensor, height: tl.tensor, first: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Give the tokens at whole coordinates (as floats), and whether they are inside the map.

    Compared as floats: a coordinate far outside fits no integer.
    """
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    token = tl.where(inside, row, 0.0).to(tl.int32) * width.to(tl.int32)
    return first + token + tl.where(inside, column, 0.0).to(tl.int32), inside


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(
    value: tl.tensor,
    sizes: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    output: tl.tensor,
    tokens: tl.tensor,
    queries: tl.tensor,
    heads: tl.constexpr,
    channels: tl.constexpr,
    levels: tl.constexpr,
    points: tl.constexpr,
    query_block: tl.constexpr,
    channel_block: tl.constexpr,
) -> None:
    """Sum the samples of a block of queries of one head and image."""
    blocks = tl.cdiv(queries, query_block)
    head = tl.program_id(0) % heads
    query = tl.program_id(0) // heads % blocks * query_block + tl.arange(0, query_block)
    # 64 bits: with many images and heads, offsets outgrow 32.
    image = (tl.program_id(0) // heads // blocks).to(tl.int64)
    row = (image * queries + query) * heads + head
    channel = tl.arange(0, channel_block)
    exists = (query < queries)[:, None] & (channel < channels)[None, :]
    # Of the head's channels in the image's first token.
    start = (image * tokens * heads + head) * channels + channel[None, :]
    total = tl.zeros((query_block, channel_block), tl.float32)
    first = 0
    for level in range(levels):
        width = tl.load(sizes + 2 * level)
        height = tl.load(sizes + 2 * level + 1)
        for point in tl.static_range(points):
            place = (row * levels + level) * points + point
            x = tl.load(locations + 2 * place, query < queries, 0.0).to(tl.float32) * width - 0.5
            y = tl.load(locations + 2 * place + 1, query < queries, 0.0).to(tl.float32) * height - 0.5
            weight = tl.load(weights + place, query < queries, 0.0).to(tl.float32)
            left = tl.floor(x)
            top = tl.floor(y)
            for corner in tl.static_range(4):
                # Left to right, then top to bottom.
                across = x - left if corner % 2 else left + 1 - x
                down = y - top if corner // 2 else top + 1 - y
                token, inside = _corner(left + corner % 2, top + corner // 2, width, height, first)
                at = start + token.to(tl.int64)[:, None] * (heads * channels)
                sampled = tl.load(value + at, exists & inside[:, None], 0.0).to(tl.float32)
                # Where there is no token the share may be infinite.
                total += sampled * tl.where(inside, weight * across * down, 0.0)[:, None]
        first += width.to(tl.int32) * height.to(tl.int32)
    written = row[:, None] * channels + channel[None, :]
    tl.store(output + written, total.to(output.dtype.element_ty), exists)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(
    gradient: tl.tensor,
    value: tl.tensor,
    sizes: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    value_gradient: tl.tensor,
    locations_gradient: tl.tensor,
    weights_gradient: tl.tensor,
    tokens: tl.tensor,
    queries: tl.tensor,
    heads: tl.constexpr,
    channels: tl.constexpr,
    levels: tl.constexpr,
    points: tl.constexpr,
    query_block: tl.constexpr,
    channel_block: tl.constexpr,
) -> None:
    """Add a block's part to the values' gradient (float32), and write those of its locations and weights."""
    blocks = tl.cdiv(queries, query_block)
    head = tl.program_id(0) % heads
    query = tl.program_id(0) // heads % blocks * query_block + tl.arange(0, query_block)
    image = (tl.program_id(0) // heads // blocks).to(tl.int64)
    row = (image * queries + query) * heads + head
    channel = tl.arange(0, channel_block)
    exists = (query < queries)[:, None] & (channel < channels)[None, :]
    start = (image * tokens * heads + head) * channels + channel[None, :]
    read = row[:, None] * channels + channel[None, :]
    received = tl.load(gradient + read, exists, 0.0).to(tl.float32)
    first = 0
    for level in range(levels):
        width = tl.load(sizes + 2 * level)
        height = tl.load(sizes + 2 * level + 1)
        for point in tl.static_range(points):
            place = (row * levels + level) * points + point
            x = tl.load(locations + 2 * place, query < queries, 0.0).to(tl.float32) * width - 0.5
            y = tl.load(locations + 2 * place + 1, query < queries, 0.0).to(tl.float32) * height - 0.5
            weight = tl.load(weights + place, query < queries, 0.0).to(tl.float32)
            left = tl.floor(x)
            top = tl.floor(y)
            weight_sum = tl.zeros((query_block,), tl.float32)
            x_sum = tl.zeros((query_block,), tl.float32)
            y_sum = tl.zeros((query_block,), tl.float32)
            for corner in tl.static_range(4):
                across = x - left if corner % 2 else left + 1 - x
                down = y - top if corner // 2 else top + 1 - y
                token, inside = _corner(left + corner % 2, top + corner // 2, width, height, first)
                across = tl.where(inside, across, 0.0)
                down = tl.where(inside, down, 0.0)
                at = start + token.to(tl.int64)[:, None] * (heads * channels)
                valid = exists & inside[:, None]
                sampled = tl.load(value + at, valid, 0.0).to(tl.float32)
                along = tl.sum(sampled * received, 1)
                weight_sum += along * across * down
                # The derivative of a share by x is 1 or -1 times the share in y, and the other way round.
                x_sum += along * down if corner % 2 else -along * down
                y_sum += along * across if corner // 2 else -along * across
                part = received * (weight * across * down)[:, None]
                tl.atomic_add(value_gradient + at, part, valid, sem="relaxed")
            kind = locations_gradient.dtype.element_ty
            tl.store(locations_gradient + 2 * place, (x_sum * weight * width).to(kind), query < queries)
            tl.store(locations_gradient + 2 * place + 1, (y_sum * weight * height).to(kind), query < queries)
            kind = weights_gradient.dtype.element_ty
            tl.store(weights_gradient + place, weight_sum.to(kind), query < queries)
        first += width.to(tl.int32) * height.to(tl.int32)


def _launch_sizes(value: Tensor, locations: Tensor) -> tuple[tuple[int], dict[str, int]]:
    """Give the number of programs, and the kernels' last arguments."""
    batch, tokens, heads, channels = value.shape
    _, queries, _, levels, points, _ = locations.shape
    channel_block = triton.next_power_of_2(channels)
    query_block = max(1, _BYTES // (value.element_size() * channel_block))
    programs = triton.cdiv(queries, query_block) * batch * heads
    return (programs,), {
        "tokens": tokens,
        "queries": queries,
        "heads": heads,
        "channels": channels,
        "levels": levels,
        "points": points,
        "query_block": query_block,
        "channel_block": channel_block,
        "num_warps": _WARPS,
    }


@torch.library.custom_op("modise_lightning::deformable_attention", mutates_args=())
def sample(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples of the values by attention weight.

    An operator of its own: ``torch.compile`` takes it as it is. The gradient of the values is summed in no
    fixed order, so its last bits differ from run to run.

    Args:
        value: (B, S, heads, channels).
        sizes: (levels, 2) float32, (width, height) of each level, on the device, so that nothing waits for
            it. Their products must add up to S.
        locations: (B, Q, heads, levels, P, 2) as (x, y), in [0, 1] inside the map; outside it values are 0.
        weights: (B, Q, heads, levels, P) attention weights.

    Returns:
        (B, Q, heads * channels) in the values' type.
    """
    value, sizes = value.contiguous(), sizes.contiguous()
    locations, weights = locations.contiguous(), weights.contiguous()
    output = value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])
    grid, arguments = _launch_sizes(value, locations)
    # Triton starts kernels on the current device, which need not be the tensors'.
    with torch.cuda.device_of(value):  # type: ignore[no-untyped-call]
        _forward_kernel[grid](value, sizes, locations, weights, output, **arguments)
    return output


@torch.library.custom_op("modise_lightning::deformable_attention_backward", mutates_args=())
def sample_backward(
    gradient: Tensor, value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of values, locations and weights from that of the result of ``sample``."""
    gradient, value, sizes = gradient.contiguous(), value.contiguous(), sizes.contiguous()
    locations, weights = locations.contiguous(), weights.contiguous()
    # In bfloat16 the sum of many small parts would stop growing.
    value_gradient = torch.zeros_like(value, dtype=torch.float32)
    locations_gradient, weights_gradient = torch.empty_like(locations), torch.empty_like(weights)
    grid, arguments = _launch_sizes(value, locations)
    with torch.cuda.device_of(value):  # type: ignore[no-untyped-call]
        _backward_kernel[grid](
            gradient,
            value,
            sizes,
            locations,
            weights,
            value_gradient,
            locations_gradient,
            weights_gradient,
            **arguments,
        )
    return value_gradient.to(value.dtype, copy=False), locations_gradient, weights_gradient


@sample.register_fake
def _(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])


@sample_backward.register_fake
def _(
    gradient: Tensor, value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    contiguous = torch.contiguous_format
    value_gradient = torch.empty_like(value, memory_format=contiguous)
    locations_gradient = torch.empty_like(locations, memory_format=contiguous)
    return value_gradient, locations_gradient, torch.empty_like(weights, memory_format=contiguous)


def _keep(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _pass_back(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, locations, weights = sample_backward(gradient, *ctx.saved_tensors)  # type: ignore[attr-defined]
    return value, None, locations, weights


sample.register_autograd(_pass_back, setup_context=_keep)
