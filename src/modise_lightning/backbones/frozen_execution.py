"""How the frozen parts of a backbone run: number format, memory layout, and compiled or as they are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from modise_lightning.c_compiler import has_c_compiler

FrozenPart = Literal["vae", "unet"]
FrozenPrecision = Literal["trainer", "float32", "bfloat16", "float16"]
CompileBackend = Literal["inductor", "aot_eager", "eager"]


class FrozenExecution:
    """Prepares frozen modules, and converts what goes into them and what comes out of them."""

    def __init__(
        self,
        *,
        precision: FrozenPrecision,
        channels_last: bool,
        compile: CompileBackend | None,
        compiled_parts: Sequence[FrozenPart] = ("vae", "unet"),
    ) -> None:
        """Choose how they run.

        Args:
            precision: Number format of weights and activations; ``trainer`` keeps float32 weights and
                computes in what the trainer's automatic mixed precision says, if it is on.
            channels_last: Keep the channels of a pixel next to each other in memory.
            compile: Backend of ``torch.compile``; None runs operator by operator. ``inductor`` compiles in
                training on GPUs: elsewhere shapes vary, or compiling takes longer than it saves.
            compiled_parts: Which parts are compiled.
        """
        self.dtype: torch.dtype | None = None if precision == "trainer" else getattr(torch, precision)
        self.channels_last = channels_last
        self.compile_backend = compile
        self.compiled_parts = tuple(compiled_parts)
        self.settings = {
            "precision": precision,
            "channels_last": channels_last,
            "compile": compile,
            "compiled_parts": list(compiled_parts),
        }

    def prepare(self, part: FrozenPart, module: nn.Module) -> None:
        """Convert a module's weights in place; it is compiled when it first runs, and keeps its names."""
        if self.dtype is not None:
            module.to(dtype=self.dtype)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile_backend is None or part not in self.compiled_parts:
            return
        if self.compile_backend == "inductor" and torch.cuda.is_available() and not has_c_compiler():
            warnings.warn(
                "backbone.compile=inductor needs a C compiler, and there is neither gcc nor clang (or set "
                "CC): training runs without it, slower.",
                stacklevel=2,
            )
            return
        module.compile(backend=self.compile_backend)

    @contextmanager
    def context(self, device: torch.device, training: bool) -> Iterator[None]:
        """Enter this around a module.

        With a number format of its own, mixed precision is off in it. What is compiled runs as it is where
        compiling would not pay.
        """
        with ExitStack() as stack:
            if self.dtype is not None:
                stack.enter_context(torch.autocast(device.type, enabled=False))
            if self.compile_backend == "inductor" and not (training and device.type == "cuda"):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def convert_input(self, tensor: Tensor) -> Tensor:
        """Give a floating-point input the module's number format, and a (B, C, H, W) one its layout too."""
        if self.dtype is not None:
            tensor = tensor.to(self.dtype)
        if self.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def convert_output(self, tensor: Tensor) -> Tensor:
        """Give an output float32, unless what follows runs in mixed precision and converts for itself."""
        return tensor if torch.is_autocast_enabled(tensor.device.type) else tensor.float()
