"""The optimizer and its schedule: parameter groups, warm-up and decay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from modise_lightning.segmenter import Segmenter
from modise_lightning.training.weight_decay import DecayRule, decayed_parameters


class OptimizerFactory:
    """Builds AdamW with its learning-rate schedule for a segmenter."""

    def __init__(
        self,
        *,
        learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)],
        weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        decayed: DecayRule,
        reference_batch_size: PositiveInt | None,
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
            weight_decay: Of what ``decayed`` names; the rest has none.
            decayed: Which parameters are decayed; see ``decayed_parameters``.
            reference_batch_size: Images a step that the learning rate is for; with others it is changed in
                proportion (Goyal et al. 2017). None: the rate is for any number.
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
        self.decayed: DecayRule = decayed
        self.reference_batch_size = reference_batch_size
        self.betas = betas
        self.warmup_steps = warmup_steps
        self.warmup_factor = warmup_factor
        self.decay = decay
        self.decay_milestones = tuple(decay_milestones)
        self.decay_factor = decay_factor
        self.fused = fused

    def optimizer(self, segmenter: Segmenter, images_per_step: int | None = None) -> AdamW:
        """Build AdamW over the trained parameters.

        Args:
            segmenter: Whose.
            images_per_step: Of all devices and accumulated batches; None: as many as the rate is for.
        """
        optimizer = AdamW(
            self.parameter_groups(segmenter, images_per_step),
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

    def parameter_groups(
        self, segmenter: Segmenter, images_per_step: int | None = None
    ) -> list[dict[str, object]]:
        """Sort the trained parameters by learning rate and weight decay.

        Args:
            segmenter: Whose parameters.
            images_per_step: As for ``optimizer``.

        Returns:
            AdamW groups ``params``, ``lr``, ``weight_decay``; at most four, none empty.
        """
        rate = self.learning_rate
        if self.reference_batch_size is not None and images_per_step is not None:
            rate *= images_per_step / self.reference_batch_size
        backbone = {id(parameter) for parameter in segmenter.backbone.parameters()}
        decayed = {id(parameter) for parameter in decayed_parameters(segmenter, self.decayed)}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in segmenter.parameters():
            if parameter.requires_grad:
                multiplier = segmenter.backbone.learning_rate_multiplier if id(parameter) in backbone else 1.0
                key = (rate * multiplier, self.weight_decay if id(parameter) in decayed else 0.0)
                groups.setdefault(key, []).append(parameter)
        return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]

    def schedule(self, optimizer: AdamW, total_steps: int) -> LambdaLR:
        """Build the learning-rate schedule over ``total_steps`` optimizer steps."""
        return LambdaLR(optimizer, lambda step: self.factor(step, total_steps))

    def factor(self, step: int, total_steps: int) -> float:
        """Give the share of the learning rate at a step, warm-up times decay.

        Linear warm-up, then step decay, is Mask2Former's and ODISE's.
        """
        warmup = 1.0
        if step < self.warmup_steps:
            warmup = self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps
        progress = step / max(1, total_steps)
        if self.decay == "cosine":
            return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return warmup * self.decay_factor ** sum(progress >= milestone for milestone in self.decay_milestones)
