"""The part of a diffusion model's UNet that its feature taps need; nothing after the last tap is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.utils.checkpoint
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn


class TruncatedUnet(nn.Module):
    """Runs a frozen UNet up to its last tap; gradients flow through it to its inputs, never to its weights.

    The taps are the inputs, after the skip concatenation, of ``up_blocks[i].resnets[2]`` for i = 0..3 of
    diffusers' UNet2DConditionModel in the layout of Stable Diffusion 1 (ODISE's UNet taps 2, 5, 8 and 11).
    """

    def __init__(self, unet: UNet2DConditionModel, *, gradient_checkpointing: bool) -> None:
        """Take over and freeze the modules that are needed.

        Args:
            unet: In the layout of Stable Diffusion 1.
            gradient_checkpointing: Compute activations again in the backward pass instead of keeping them.
        """
        super().__init__()
        parts: Any = unet  # Its attributes are set in ways that type checkers do not see.
        # Fused attention: the attention matrices are never stored.
        parts.set_attn_processor(cast(Any, AttnProcessor2_0)())
        self.time_proj = parts.time_proj
        self.time_embedding = parts.time_embedding
        self.conv_in = parts.conv_in
        self.down_blocks = parts.down_blocks
        self.mid_block = parts.mid_block
        self.up_blocks = parts.up_blocks[:3]
        self.last_resnets = parts.up_blocks[3].resnets[:2]
        self.last_attentions = parts.up_blocks[3].attentions[:2]
        self.gradient_checkpointing = gradient_checkpointing
        self.context_channels: int = parts.config.cross_attention_dim
        self.time_channels: int = parts.time_embedding.linear_2.out_features
        self.tap_channels = tuple(block.resnets[2].in_channels for block in parts.up_blocks)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TruncatedUnet:
        """Stay in evaluation mode: the UNet is frozen."""
        return super().train(False)

    def forward(
        self, latents: Tensor, timesteps: Tensor, context: Tensor, time_offset: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Compute the taps.

        Args:
            latents: (N, 4, h, w), noisy.
            timesteps: (N,) int64.
            context: (N, tokens, context_channels) encoded text.
            time_offset: (N, time_channels), added to the time embedding; None for zero.

        Returns:
            The four taps at 1/8, 1/4, 1/2 and 1 of the latent's resolution, rounded up.
        """
        embedding = self.time_embedding(self.time_proj(timesteps).to(latents.dtype))
        if time_offset is not None:
            embedding = embedding + time_offset
        sample, skips = self._down(self.conv_in(latents), embedding, context)
        sample = self._run(self.mid_block, sample, embedding, encoder_hidden_states=context)
        taps = []
        for block in self.up_blocks:
            attentions = getattr(block, "attentions", (None, None, None))
            for index, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
                sample = torch.cat([sample, skips.pop()], dim=1)
                if index == 2:
                    taps.append(sample)
                sample = self._layer(resnet, attention, sample, embedding, context)
            for upsampler in block.upsamplers:
                # The size is the skip's: an odd size is halved with rounding up on the way down.
                sample = self._run(upsampler, sample, skips[-1].shape[2:])
        for resnet, attention in zip(self.last_resnets, self.last_attentions, strict=True):
            sample = torch.cat([sample, skips.pop()], dim=1)
            sample = self._layer(resnet, attention, sample, embedding, context)
        taps.append(torch.cat([sample, skips.pop()], dim=1))
        return tuple(taps)

    def _down(self, sample: Tensor, embedding: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = [sample]
        for block in self.down_blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, attention in zip(block.resnets, attentions, strict=True):
                sample = self._layer(resnet, attention, sample, embedding, context)
                skips.append(sample)
            for downsampler in block.downsamplers or ():
                sample = self._run(downsampler, sample)
                skips.append(sample)
        return sample, skips

    def _layer(
        self,
        resnet: nn.Module,
        attention: nn.Module | None,
        sample: Tensor,
        embedding: Tensor,
        context: Tensor,
    ) -> Tensor:
        hidden = self._run(resnet, sample, embedding)
        if attention is None:
            return cast(Tensor, hidden)
        return cast(Tensor, self._run(attention, hidden, encoder_hidden_states=context, return_dict=False)[0])

    def _run(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return torch.utils.checkpoint.checkpoint(function, *arguments, use_reentrant=False, **keywords)
        return function(*arguments, **keywords)
