"""How the frozen parts of a backbone run: number format, memory layout, and compiled or as they are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

FrozenPrecision = Literal["trainer", "float32", "bfloat16", "float16"]
CompileBackend = Literal["inductor", "aot_eager", "eager"]


class FrozenExecution:
    """Prepares frozen modules, and converts what goes into them and what comes out of them."""

    def __init__(
        self, *, precision: FrozenPrecision, channels_last: bool, compile: CompileBackend | None
    ) -> None:
        """Choose how they run.

        Args:
            precision: Number format of weights and activations; ``trainer`` keeps float32 weights and
                computes in what the trainer's automatic mixed precision says, if it is on.
            channels_last: Keep the channels of a pixel next to each other in memory.
            compile: Backend of ``torch.compile``; None runs operator by operator.
        """
        self.dtype: torch.dtype | None = None if precision == "trainer" else getattr(torch, precision)
        self.channels_last = channels_last
        self.compile_backend = compile
        self.settings = {
            "precision": precision,
            "channels_last": channels_last,
            "compile": compile,
        }

    def prepare(self, module: nn.Module) -> None:
        """Convert a module's weights in place; it is compiled when it first runs, and keeps its names."""
        if self.dtype is not None:
            module.to(dtype=self.dtype)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile_backend is not None:
            module.compile(backend=self.compile_backend)

    def context(self, device: torch.device) -> AbstractContextManager[object]:
        """Enter this around the module: with a number format of its own, mixed precision is off in it."""
        return nullcontext() if self.dtype is None else torch.autocast(device.type, enabled=False)

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
