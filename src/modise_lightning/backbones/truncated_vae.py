"""The part of a diffusion model's VAE that its latent and taps need; nothing after them is computed."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn


class TruncatedVae(nn.Module):
    """Encodes images to latents and taps the encoder and the decoder; frozen, without gradients.

    The taps are the inputs of these residual blocks of diffusers' AutoencoderKL in the layout of Stable
    Diffusion 1 (ODISE's encoder taps 5 and 7, decoder taps 2 and 5): ``encoder.down_blocks[2].resnets[1]``,
    ``encoder.down_blocks[3].resnets[1]``, ``decoder.up_blocks[0].resnets[2]`` and
    ``decoder.up_blocks[1].resnets[2]``.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        """Take over and freeze the modules that are needed.

        Args:
            vae: diffusers' AutoencoderKL in the layout of Stable Diffusion 1.
        """
        super().__init__()
        parts: Any = vae  # Its attributes are set in ways that type checkers do not see.
        encoder, decoder = parts.encoder, parts.decoder
        self.encoder = encoder
        self.quant_conv = parts.quant_conv
        self.post_quant_conv = parts.post_quant_conv
        self.decoder_conv_in = decoder.conv_in
        self.decoder_mid_block = decoder.mid_block
        self.decoder_first_block = decoder.up_blocks[0]
        self.decoder_second_resnets = nn.ModuleList(decoder.up_blocks[1].resnets[:2])
        downs, ups = encoder.down_blocks, decoder.up_blocks
        self.tap_channels = tuple(
            resnet.in_channels
            for resnet in (downs[2].resnets[1], downs[3].resnets[1], ups[0].resnets[2], ups[1].resnets[2])
        )
        self.latent_scale: float = parts.config.scaling_factor
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> TruncatedVae:
        """Stay in evaluation mode: the VAE is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Encode images.

        Args:
            images: (B, 3, H, W) in [-1, 1].

        Returns:
            The posterior mean (B, 4, H / 8, W / 8), unscaled, and the four taps at strides 4, 8, 8 and 4.
        """
        mean, encoder_taps = self._encode(images)
        return mean, (*encoder_taps, *self._decode(mean))

    def _encode(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        encoder = self.encoder
        sample = encoder.conv_in(images)
        taps = []
        for index, block in enumerate(encoder.down_blocks):
            if index < 2:
                sample = block(sample)
                continue
            sample = block.resnets[0](sample, temb=None)
            taps.append(sample)
            sample = block.resnets[1](sample, temb=None)
            for downsampler in block.downsamplers or ():
                sample = downsampler(sample)
        sample = encoder.mid_block(sample)
        sample = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(sample)))
        mean, _log_variance = self.quant_conv(sample).chunk(2, dim=1)
        return mean, (taps[0], taps[1])

    def _decode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        sample = self.decoder_mid_block(self.decoder_conv_in(self.post_quant_conv(latent)), None)
        first = self.decoder_first_block
        for resnet in first.resnets[:2]:
            sample = resnet(sample, temb=None)
        first_tap = sample
        sample = first.resnets[2](sample, temb=None)
        for upsampler in first.upsamplers:
            sample = upsampler(sample)
        for resnet in self.decoder_second_resnets:
            sample = resnet(sample, temb=None)
        return first_tap, sample
