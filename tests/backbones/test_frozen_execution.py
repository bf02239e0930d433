"""Half precision, channels-last and compiled frozen parts give the same features and gradients."""

import shutil
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from modise_lightning.backbones.diffusion import DiffusionBackbone
from modise_lightning.backbones.frozen_execution import (
    CompileBackend,
    FrozenExecution,
    FrozenPart,
    FrozenPrecision,
)
from modise_lightning.c_compiler import has_c_compiler
from modise_lightning.structures import Conditioning

Build = Callable[..., DiffusionBackbone]
# A few dozen layers add up some units in the last place of the formats, 2^-8 and 2^-11. The gradients also
# see the ReLUs of the projections switch. Twice what is found with either set of weights that the seed gives
# (PyTorch draws others on processors without AVX2).
NUM_GRADIENTS = 2
FEATURE_TOLERANCE = {"bfloat16": 0.04, "float16": 0.005}
GRADIENT_TOLERANCE = {"bfloat16": 0.5, "float16": 0.1}


def execution(
    precision: FrozenPrecision = "trainer",
    channels_last: bool = False,
    compile: CompileBackend | None = None,
    compiled_parts: Sequence[FrozenPart] = ("vae", "unet"),
) -> FrozenExecution:
    return FrozenExecution(
        precision=precision, channels_last=channels_last, compile=compile, compiled_parts=compiled_parts
    )


def run(backbone: DiffusionBackbone) -> list[Tensor]:
    """Give the taps, the pyramid and the gradients of the conditioning."""
    shape = backbone.conditioning_shape
    assert shape is not None
    generator = torch.Generator().manual_seed(7)
    context = torch.randn(2, shape.context_length, shape.context_channels, generator=generator)
    time = torch.randn(2, shape.timesteps, shape.time_channels, generator=generator)
    conditioning = Conditioning(context.requires_grad_(), time.requires_grad_())
    images = torch.rand(2, 3, 64, 64, generator=generator)
    taps: list[Tensor] = []
    hook = backbone.projection.register_forward_pre_hook(lambda module, inputs: taps.extend(inputs[0]))
    pyramid = backbone(images, conditioning)
    hook.remove()
    sum((level * level.detach().cos()).mean() for level in pyramid.levels).backward()  # type: ignore[union-attr]
    assert context.grad is not None
    assert time.grad is not None
    return [*(tap.detach() for tap in (*taps, *pyramid.levels)), context.grad, time.grad]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close_and_leaves_float32(build: Build, precision: FrozenPrecision) -> None:
    expected = run(build())
    backbone = build(execution=execution(precision))
    dtype = getattr(torch, precision)
    assert {parameter.dtype for parameter in (*backbone.unet.parameters(), *backbone.vae.parameters())} == {
        dtype
    }
    assert {parameter.dtype for parameter in backbone.projection.parameters()} == {torch.float32}
    found = run(backbone)
    assert all(tensor.dtype == torch.float32 for tensor in found)
    errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    assert max(errors[:-NUM_GRADIENTS]) < FEATURE_TOLERANCE[precision]
    assert max(errors[-NUM_GRADIENTS:]) < GRADIENT_TOLERANCE[precision]
    assert min(errors) > 0  # it did compute in another format


@pytest.mark.parametrize("precision", ["trainer", "bfloat16", "float16"])
def test_latents_and_noise_are_mixed_in_float32(
    build: Build, precision: FrozenPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = build(execution=execution(precision), timesteps=[300])
    mix = backbone.noisy_latents
    seen: list[Tensor] = []

    def spy(latents: Tensor) -> Tensor:
        seen.extend([latents, mix(latents)])
        return seen[-1]

    monkeypatch.setattr(backbone, "noisy_latents", spy)
    with torch.autocast("cpu", torch.bfloat16):
        backbone(torch.rand(1, 3, 64, 64), None)
    assert [tensor.dtype for tensor in seen] == [torch.float32, torch.float32]


def test_a_precision_of_its_own_ignores_mixed_precision(build: Build) -> None:
    expected = run(build())
    with torch.autocast("cpu", torch.bfloat16):
        own = run(build(execution=execution("float32")))
        follows = run(build(execution=execution("trainer")))
    num_taps = 8
    for index in range(num_taps):
        assert torch.equal(own[index], expected[index])
    assert not any(torch.equal(a, b) for a, b in zip(follows, expected, strict=True))


def test_channels_last_is_close(build: Build) -> None:
    expected = run(build())
    backbone = build(execution=execution(channels_last=True))
    kernels = [
        module.weight
        for part in (backbone.unet, backbone.vae)
        for module in part.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    assert len(kernels) > 50
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    for found, reference in zip(run(backbone), expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-4)


@pytest.fixture
def _forget_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("_forget_compiled")
@pytest.mark.parametrize(("parts", "graphs"), [(("vae", "unet"), 2), (("vae",), 1)])
def test_compiled_parts_are_whole_graphs_with_the_same_results(
    parts: Sequence[FrozenPart], graphs: int, build: Build
) -> None:
    expected = run(build(gradient_checkpointing=True))
    compiled = build(execution=execution(compile="eager", compiled_parts=parts), gradient_checkpointing=True)
    assert compiled.state_dict().keys() == build().state_dict().keys()
    torch._dynamo.utils.counters.clear()
    for found, reference in zip(run(compiled), expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


@pytest.mark.usefixtures("_forget_compiled")
@pytest.mark.parametrize("training", [True, False])
def test_inductor_leaves_a_cpu_alone(training: bool, build: Build) -> None:
    expected = run(build())
    torch._dynamo.utils.counters.clear()
    found = run(build(execution=execution(compile="inductor")).train(training))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_gpu_without_a_c_compiler_is_told_and_not_compiled_for(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    has_c_compiler.cache_clear()
    try:
        with pytest.warns(UserWarning, match="inductor needs a C compiler"):
            backbone = build(execution=execution(compile="inductor"))
    finally:
        has_c_compiler.cache_clear()
    assert all(module._compiled_call_impl is None for module in backbone.modules())
