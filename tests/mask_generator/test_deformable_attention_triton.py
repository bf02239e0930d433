"""The Triton kernels: right in the interpreter, accepted by the compiler, chosen on GPUs, and right there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from modise_lightning.mask_generator import deformable_attention
from modise_lightning.mask_generator.deformable_attention import Levels, sample

REPOSITORY = Path(__file__).parents[2]
SHAPES = [(16, 24), (8, 12), (4, 6)]


@pytest.fixture
def kernel() -> ModuleType:
    pytest.importorskip("triton", reason="PyTorch brings Triton along on Linux with CUDA only")
    from modise_lightning.mask_generator import deformable_attention_triton

    return deformable_attention_triton


def test_equals_the_plain_one_in_the_interpreter(kernel: ModuleType) -> None:
    checks = Path(__file__).with_name("interpreted_deformable_attention.py")
    options = ["--noconftest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(checks)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "capability", "kind", "channels"),
    [
        ("forward", 75, "fp16", 24),
        ("forward", 90, "bf16", 32),
        ("backward", 80, "fp32", 24),
        ("backward", 90, "bf16", 32),
        ("backward", 75, "fp16", 24),
    ],
)
def test_the_compiler_accepts_it(
    name: str,
    capability: int,
    kind: str,
    channels: int,
    kernel: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Needs no GPU. The interpreter takes more than the compiler does."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(kernel, f"_{name}_kernel")
    constants = {
        "heads": 8,
        "channels": channels,
        "levels": 3,
        "points": 2,
        "query_block": 16,
        "channel_block": 32,
    }
    types = {"tokens": "i32", "queries": "i32", "sizes": "*fp32", "value_gradient": "*fp32"}
    signature = {
        argument: "constexpr" if argument in constants else types.get(argument, f"*{kind}")
        for argument in function.arg_names
    }
    source = ASTSource(function, signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert compiled.asm["cubin"]
    additions = set(re.findall(r"\b(?:red|atom)\.global\S*", compiled.asm["ptx"]))
    assert bool(additions) == (name == "backward")
    assert all("relaxed.add" in each and each.endswith("f32") for each in additions)


def make_inputs(
    device: str, dtype: torch.dtype, channels: int = 24
) -> tuple[Tensor, Levels, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in SHAPES)
    size = (2, tokens, 8, len(SHAPES), 4)
    cells = torch.tensor([(width, height) for height, width in SHAPES])[:, None]
    whole = ((torch.rand(*size, 2, generator=generator) * 1.4 - 0.2) * cells).floor()
    # Not where derivatives jump, which rounding decides.
    locations = (whole + 0.55 + 0.9 * torch.rand(*size, 2, generator=generator)) / cells
    return (
        torch.randn(2, tokens, 8, channels, generator=generator).to(device, dtype).requires_grad_(),
        Levels.of(SHAPES, torch.device(device), dtype),
        locations.to(device).requires_grad_(),
        torch.rand(size, generator=generator).to(device, dtype).requires_grad_(),
        torch.randn(2, tokens, 8 * channels, generator=generator).to(device, dtype),
    )


class Calls(TorchDispatchMode):
    """Writes down which operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the name, and call."""
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


PLAIN, OPERATOR = "aten::grid_sampler_2d", "modise_lightning::deformable_attention"


def test_cpu_tensors_take_the_plain_one() -> None:
    value, levels, locations, weights, _ = make_inputs("cpu", torch.float32)
    with Calls() as calls:
        sample(value, levels, locations, weights)
    assert PLAIN in calls.names
    assert OPERATOR not in calls.names


def test_the_plain_one_needs_no_triton() -> None:
    lines = """
        import sys
        sys.modules["triton"] = None  # to import it is an error now
        import torch
        from modise_lightning.mask_generator.deformable_attention import Levels, sample
        value = torch.ones(1, 4, 1, 2)
        levels = Levels.of([(2, 2)], value.device, value.dtype)
        result = sample(value, levels, torch.full((1, 1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 1))
        assert torch.equal(result, torch.ones(1, 1, 2))
    """
    code = "\n".join(line.strip() for line in lines.splitlines())
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("dtype", "deterministic", "chosen"),
    [
        (torch.float32, False, True),
        (torch.bfloat16, False, True),
        (torch.float64, False, False),
        (torch.float32, True, False),
    ],
)
def test_cuda_tensors_take_the_kernels_where_these_can_compute_it(
    dtype: torch.dtype,
    deterministic: bool,
    chosen: bool,
    kernel: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On tensors without values, so that no GPU is needed."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    with FakeTensorMode():
        value = torch.empty(2, 480, 8, 24, device="cuda", dtype=dtype)
        locations = torch.empty(2, 480, 8, 2, 4, 2, device="cuda", dtype=dtype)
        weights = torch.empty(2, 480, 8, 2, 4, device="cuda", dtype=dtype)
        levels = Levels.of([(16, 24), (8, 12)], value.device, dtype)
        with Calls() as calls:
            result = sample(value, levels, locations, weights)
    assert (result.shape, result.dtype) == ((2, 480, 192), dtype)
    assert (PLAIN in calls.names) != chosen
    assert (OPERATOR in calls.names) == chosen


def test_without_a_c_compiler_the_plain_one_is_taken_and_told(
    kernel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deformable_attention, "_CAN_BUILD", False)
    with FakeTensorMode(), Calls() as calls:
        value = torch.empty(2, 480, 8, 24, device="cuda")
        locations = torch.empty(2, 480, 8, 2, 4, 2, device="cuda")
        weights = torch.empty(2, 480, 8, 2, 4, device="cuda")
        levels = Levels.of([(16, 24), (8, 12)], value.device, value.dtype)
        with pytest.warns(UserWarning, match="needs a C compiler"):
            sample(value, levels, locations, weights)
    assert PLAIN in calls.names


class Core(torch.nn.Module):
    """The function as a module."""

    def forward(self, value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return sample(value, Levels(((16, 24), (8, 12)), sizes), locations, weights)


def test_a_graph_without_breaks_holds_the_kernels_on_a_gpu(kernel: ModuleType) -> None:
    with FakeTensorMode(), torch.device("cuda"):
        shapes = [(2, 480, 8, 24), (2, 2), (2, 480, 8, 2, 4, 2), (2, 480, 8, 2, 4)]
        traced = torch.export.export(Core(), tuple(torch.empty(*shape) for shape in shapes), strict=True)
    called = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.modise_lightning.deformable_attention.default]


def test_levels_of_another_size_are_refused() -> None:
    value, _, locations, weights, _ = make_inputs("cpu", torch.float32)
    levels = Levels.of([(16, 24), (8, 12), (4, 7)], value.device, value.dtype)
    with pytest.raises(ValueError, match="have 508 tokens, the values 504"):
        sample(value, levels, locations, weights)


@pytest.mark.cuda
@pytest.mark.parametrize("channels", [24, 32])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("compiled", [False, True])
def test_equals_the_plain_one_on_a_gpu(
    dtype: torch.dtype, tolerance: float, channels: int, compiled: bool, kernel: ModuleType
) -> None:
    value, levels, locations, weights, gradient = make_inputs("cuda", dtype, channels)
    function = torch.compile(sample, fullgraph=True) if compiled else sample
    result = function(value, levels, locations, weights)
    result.backward(gradient)
    exact = [each.detach().double().requires_grad_() for each in (value, locations, weights)]
    expected = sample(exact[0], Levels.of(SHAPES, exact[0].device, torch.float64), *exact[1:])
    expected.backward(gradient.double())
    pairs = [(result, expected)]
    pairs += [(one.grad, other.grad) for one, other in zip((value, locations, weights), exact, strict=True)]
    for found, truth in pairs:
        assert (found.double() - truth).norm() < tolerance * truth.norm()


@pytest.mark.cuda
def test_waits_for_nothing_on_a_gpu(kernel: ModuleType) -> None:
    value, levels, locations, weights, gradient = make_inputs("cuda", torch.bfloat16)
    sample(value, levels, locations, weights).backward(gradient)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        sample(value, levels, locations, weights).backward(gradient)
    finally:
        torch.cuda.set_sync_debug_mode("default")
