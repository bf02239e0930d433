"""Checks of the Triton kernels against the plain formulation, in Triton's interpreter.

Not collected by itself: Triton reads TRITON_INTERPRET when it is imported, so that
``test_deformable_attention_triton.py`` runs this file in a process of its own.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from modise_lightning.mask_generator import deformable_attention_triton as kernel
from modise_lightning.mask_generator.deformable_attention import Levels, sample

Shapes = list[tuple[int, int]]
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 1e-3}


def test_is_interpreted() -> None:
    assert type(kernel._forward_kernel).__name__ == "InterpretedFunction"


def between_cells(shapes: Shapes, *size: int, generator: torch.Generator) -> Tensor:
    """Draw locations that reach two cells outside, none near a line where the derivative jumps."""
    levels = torch.tensor([(width, height) for height, width in shapes], dtype=torch.float64)[:, None]
    whole = (torch.rand(*size, 2, generator=generator, dtype=torch.float64) * (levels + 4)).floor() - 2
    fraction = 0.02 + 0.96 * torch.rand(*size, 2, generator=generator, dtype=torch.float64)
    return (whole + fraction + 0.5) / levels


def inputs(
    shapes: Shapes, batch: int, queries: int, heads: int, channels: int, points: int, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw values, locations, weights and a gradient of the result, in float64."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(height * width for height, width in shapes)
    size = (batch, queries, heads, len(shapes), points)
    return (
        torch.randn(batch, tokens, heads, channels, generator=generator, dtype=torch.float64),
        between_cells(shapes, *size, generator=generator),
        torch.rand(size, generator=generator, dtype=torch.float64),
        torch.randn(batch, queries, heads * channels, generator=generator, dtype=torch.float64),
    )


def compare(shapes: Shapes, given: tuple[Tensor, ...], types: tuple[torch.dtype, ...]) -> None:
    """Compare with the plain formulation, computed in float64 for the same, rounded inputs."""
    *arguments, gradient = (each.to(kind) for each, kind in zip(given, (*types, types[0]), strict=True))
    found_inputs = [each.clone().requires_grad_() for each in arguments]
    expected_inputs = [each.double().requires_grad_() for each in arguments]
    levels = Levels.of(shapes, gradient.device, torch.float32)
    value, locations, weights = found_inputs
    result = kernel.sample(value, levels.sizes, locations, weights)
    assert result.dtype == value.dtype
    expected = sample(
        expected_inputs[0], Levels.of(shapes, gradient.device, torch.float64), *expected_inputs[1:]
    )
    result.backward(gradient)
    expected.backward(gradient.double())
    check(result, expected)
    for one, other in zip(found_inputs, expected_inputs, strict=True):
        assert one.grad is not None
        assert one.grad.dtype == one.dtype
        check(one.grad, other.grad)


def check(found: Tensor, expected: Tensor) -> None:
    """Bound the errors by the largest element: sums of both signs lose digits."""
    scale = expected.abs().max().item()
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance * max(scale, 1e-3))


@pytest.mark.parametrize(
    ("shapes", "batch", "queries", "heads", "channels", "points"),
    [
        ([(5, 7), (3, 2), (1, 1)], 1, 71, 2, 6, 2),
        ([(4, 6)], 1, 5, 1, 1, 1),
        ([(1, 9), (9, 1)], 1, 1, 2, 32, 4),
        ([(3, 3), (2, 2), (1, 2), (2, 1)], 1, 9, 2, 33, 3),
        ([(3, 5)], 1, 3, 1, 1100, 1),
    ],
)
def test_equals_the_plain_one(
    shapes: Shapes, batch: int, queries: int, heads: int, channels: int, points: int
) -> None:
    compare(shapes, inputs(shapes, batch, queries, heads, channels, points), (torch.float32,) * 3)


@pytest.mark.parametrize(
    "types",
    [
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, torch.float16),
        (torch.bfloat16, torch.float32, torch.bfloat16),  # what bfloat16 autocast brings
        (torch.float32, torch.bfloat16, torch.float16),
    ],
)
def test_equals_the_plain_one_in_half_precision(types: tuple[torch.dtype, ...]) -> None:
    # Each type is exact at these cells' eighths, so that rounding moves no point to another cell.
    shapes = [(8, 4), (2, 4)]
    value, _, weights, gradient = inputs(shapes, 2, 12, 2, 8, 2)
    generator = torch.Generator().manual_seed(3)
    levels = torch.tensor([(width, height) for height, width in shapes], dtype=torch.float64)[:, None]
    places = torch.randint(-8, 40, (*weights.shape, 2), generator=generator) * 2 + 1
    locations = (places / 16) / levels
    compare(shapes, (value, locations, weights, gradient), types)


def test_equals_the_plain_one_on_lines_and_borders() -> None:
    # Exact in float32: multiples of half a cell, of which the centres are where derivatives jump.
    shapes = [(4, 8), (2, 2)]
    halves = torch.arange(-3, 20, dtype=torch.float64) / 2
    grid = torch.cartesian_prod(halves, halves)
    sizes = torch.tensor([(8, 4), (2, 2)], dtype=torch.float64)
    locations = (grid[:, None] / sizes)[None, :, None, :, None]  # (1, Q, 1, levels, 1, 2)
    value, _, weights, gradient = inputs(shapes, 1, len(grid), 1, 4, 1)
    compare(shapes, (value, locations, weights, gradient), (torch.float32,) * 3)


@given(data=st.data())
@settings(max_examples=6, deadline=None, derandomize=bool(os.environ.get("CI")))
def test_equals_the_plain_one_for_random_sizes(data: st.DataObject) -> None:
    size = st.integers(1, 6)
    shapes = data.draw(st.lists(st.tuples(size, size), min_size=1, max_size=3))
    batch, heads, points = (data.draw(st.integers(1, 2)) for _ in range(3))
    queries, channels = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 20))
    seed = data.draw(st.integers(0, 2**31))
    compare(shapes, inputs(shapes, batch, queries, heads, channels, points, seed), (torch.float32,) * 3)


def test_points_at_infinity_add_nothing() -> None:
    shapes = [(2, 3)]
    value, locations, weights, _ = (each.float() for each in inputs(shapes, 1, 4, 1, 2, 2))
    locations[..., 0] = torch.tensor([1e30, -torch.inf])
    locations.requires_grad_()
    levels = Levels.of(shapes, value.device, value.dtype)
    result = kernel.sample(value.requires_grad_(), levels.sizes, locations, weights)
    result.sum().backward()
    assert not result.any()
    assert value.grad is not None
    assert not value.grad.any()
    assert locations.grad is not None
    assert not locations.grad.any()


def test_takes_tensors_that_are_not_contiguous_and_none_at_all() -> None:
    shapes = [(3, 2), (2, 2)]
    value, locations, weights, _ = (each.float() for each in inputs(shapes, 2, 5, 3, 4, 2))
    sizes = Levels.of(shapes, value.device, value.dtype).sizes
    expected = kernel.sample(value, sizes, locations, weights)
    found = kernel.sample(
        value.mT.contiguous().mT, sizes, locations.flip(1).flip(1), weights.mT.contiguous().mT
    )
    assert torch.equal(found, expected)
    assert kernel.sample(value, sizes, locations[:, :0], weights[:, :0]).shape == (2, 0, 12)


def test_is_an_operator_for_autograd_tracing_and_counters() -> None:
    shapes = [(3, 2), (2, 2)]
    value, locations, weights, _ = (each.float() for each in inputs(shapes, 2, 5, 3, 4, 2))
    sizes = Levels.of(shapes, value.device, value.dtype).sizes
    arguments = (value.requires_grad_(), sizes, locations.requires_grad_(), weights.requires_grad_())
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(kernel.sample, arguments, test_utils=checks)
    gradient = torch.randn(2, 5, 12)
    without_graph = (gradient, *(each.detach() for each in arguments))
    torch.library.opcheck(kernel.sample_backward, without_graph, test_utils=checks)
    with FlopCounterMode(display=False) as counter:
        kernel.sample(*arguments).sum().backward()
    assert counter.get_total_flops() == 0  # as grid_sample


def test_one_graph_holds_it() -> None:
    shapes = [(3, 2), (2, 2)]
    value, locations, weights, _ = (each.float() for each in inputs(shapes, 2, 5, 3, 4, 2))
    sizes = Levels.of(shapes, value.device, value.dtype).sizes
    compiled = torch.compile(
        lambda each: kernel.sample(each, sizes, locations, weights) * 2, backend="aot_eager", fullgraph=True
    )
    found, expected = (value.clone().requires_grad_() for _ in range(2))
    compiled(found).sum().backward()
    (kernel.sample(expected, sizes, locations, weights) * 2).sum().backward()
    assert found.grad is not None
    torch.testing.assert_close(found.grad, expected.grad)
