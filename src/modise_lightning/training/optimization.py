"""The optimizer and its schedule: parameter groups, warm-up and decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from modise_lightning.segmenter import Segmenter

# Only matrices of these modules are decayed; norms, biases and embeddings are not (Mask2Former, section 4.1).
_DECAYED_MODULES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MultiheadAttention)


class OptimizerFactory:
    """Builds AdamW with its learning-rate schedule for a segmenter."""

    def __init__(
        self,
        *,
        learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)],
        weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]],
        warmup_steps: NonNegativeInt,
        warmup_factor: Annotated[float, Field(ge=0, le=1)],
        decay: Literal["step", "cosine"],
        decay_milestones: Sequence[Annotated[float, Field(gt=0, lt=1)]],
        decay_factor: Annotated[float, Field(ge=0, le=1)],
        fused: bool,
    ) -> None:
        """Keep the hyper-parameters.

        Args:
            learning_rate: Of every trained part, before its own multiplier.
            weight_decay: Of matrices; norms, biases and embeddings have none.
            betas: AdamW's running-average coefficients.
            warmup_steps: Optimizer steps until the full learning rate.
            warmup_factor: Share of the learning rate at the first step; rises linearly.
            decay: Multiply by ``decay_factor`` at each milestone, or follow half a cosine down to 0.
            decay_milestones: Shares of all steps, in (0, 1), for ``step``.
            decay_factor: For ``step``.
            fused: Update all parameters in one kernel instead of one by one.
        """
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.warmup_factor = warmup_factor
        self.decay = decay
        self.decay_milestones = tuple(decay_milestones)
        self.decay_factor = decay_factor
        self.fused = fused

    def optimizer(self, segmenter: Segmenter) -> AdamW:
        """Build AdamW over the trained parameters."""
        optimizer = AdamW(
            self.parameter_groups(segmenter),
            lr=self.learning_rate,
            betas=self.betas,
            # None lets PyTorch choose, which is its multi-tensor form on a GPU.
            fused=True if self.fused else None,
        )
        # The fused form offers to undo a loss scale itself, inside the step. Clipping comes before the step
        # and needs gradients whose scale is undone, so Lightning refuses to clip with such an optimizer.
        # Without the offer the scale is undone before clipping, as for any other optimizer.
        optimizer._step_supports_amp_scaling = False
        return optimizer

    def parameter_groups(self, segmenter: Segmenter) -> list[dict[str, object]]:
        """Sort the trained parameters by learning rate and weight decay.

        Returns:
            AdamW groups ``params``, ``lr``, ``weight_decay``; at most four, none empty.
        """
        backbone = {id(parameter) for parameter in segmenter.backbone.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        seen: set[int] = set()
        for module in segmenter.modules():
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                decayed = isinstance(module, _DECAYED_MODULES) and parameter.ndim >= 2
                multiplier = segmenter.backbone.learning_rate_multiplier if id(parameter) in backbone else 1.0
                key = (self.learning_rate * multiplier, self.weight_decay if decayed else 0.0)
                groups.setdefault(key, []).append(parameter)
        return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]

    def schedule(self, optimizer: AdamW, total_steps: int) -> LambdaLR:
        """Build the learning-rate schedule over ``total_steps`` optimizer steps."""
        return LambdaLR(optimizer, lambda step: self.factor(step, total_steps))

    def factor(self, step: int, total_steps: int) -> float:
        """Give the share of the learning rate at a step, warm-up times decay.

        The defaults are Mask2Former's and ODISE's: linear warm-up, step decay at 89 % and 96 % of the steps.
        """
        warmup = 1.0
        if step < self.warmup_steps:
            warmup = self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps
        progress = step / max(1, total_steps)
        if self.decay == "cosine":
            return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return warmup * self.decay_factor ** sum(progress >= milestone for milestone in self.decay_milestones)
