"""A frozen text-to-image diffusion model as a backbone (Stable Diffusion, MAM-E)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from pydantic import Field, PositiveInt
from torch import Tensor

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.backbones.frozen_execution import FrozenExecution
from modise_lightning.backbones.pyramid import Level, PyramidProjection, Tap
from modise_lightning.backbones.truncated_unet import TruncatedUnet
from modise_lightning.backbones.truncated_vae import TruncatedVae
from modise_lightning.errors import UserError
from modise_lightning.feature_store.recall import FeatureRecall
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.structures import Conditioning, ConditioningShape, FeaturePyramid

NOISE_SIZE = 64  # ODISE draws the noise for a latent of 64x64 and resizes it for other ones.
VAE_LEVELS: tuple[Level, ...] = ("s2", "s3", "s3", "s2")
UNET_LEVELS: tuple[Level, ...] = ("s5", "s5", "s4", "s3")


class DiffusionBackbone(Backbone):
    """Taps a frozen diffusion model on the noised latent of an image and projects the taps (ODISE).

    The image's latent is the VAE's posterior mean times the scaling factor; at timestep t the UNet sees
    ``sqrt(alphas_cumprod[t]) * latent + sqrt(1 - alphas_cumprod[t]) * noise`` (Ho et al. 2020, equation 4)
    with one fixed noise. Only the projections are trained; gradients flow through the UNet to the
    conditioning.
    """

    noise: Tensor
    unconditional_context: Tensor
    unet_timesteps: Tensor
    signal_scale: Tensor
    noise_scale: Tensor

    def __init__(
        self,
        *,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        unconditional_context: Tensor,
        alphas_cumprod: Tensor,
        timesteps: Sequence[int],
        noise_seed: int,
        projection_channels: PositiveInt,
        bottleneck_channels: PositiveInt,
        normalization_groups: PositiveInt,
        identity_shortcut: bool,
        window_size: int | None,
        enlarge_small_images: bool,
        max_windows: int | None,
        gradient_checkpointing: bool,
        execution: FrozenExecution,
        learning_rate_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        feature_store: FeatureStore | None = None,
    ) -> None:
        """Take over and freeze the diffusion model, and build the projections.

        Args:
            unet: diffusers' UNet2DConditionModel in the layout of Stable Diffusion 1.
            vae: diffusers' AutoencoderKL in the layout of Stable Diffusion 1.
            unconditional_context: (1, tokens, channels), the model's own encoding of the empty text.
            alphas_cumprod: (T,) of the noise schedule.
            timesteps: Where features are taken, each in [-1, T); -1 is timestep 0 without noise.
            noise_seed: Of the fixed noise.
            projection_channels: Channels of each pyramid level.
            bottleneck_channels: Channels inside the projections.
            normalization_groups: Groups of each GroupNorm of the projections.
            identity_shortcut: Whether a tap of ``projection_channels`` goes past its projection as it is.
            window_size: Height and width of the input in pixels, a multiple of 32; None for any.
            enlarge_small_images: Whether windows of an image smaller than a window are as large as its
                shorter side and are enlarged; else the image is padded with zeros.
            max_windows: Windows that are computed at a time, which caps the memory; None for all.
            gradient_checkpointing: Less memory, more computation in training; the result is the same.
            execution: How the diffusion model runs; the latents and their mixture with the noise are float32
                in any case.
            learning_rate_multiplier: Share of the learning rate that the projections get.
            feature_store: Where the VAE's latents and taps are kept; None computes them each time.

        Raises:
            UserError: A timestep, the window size or the number of windows is not possible.
        """
        super().__init__()
        _check_timesteps(timesteps, len(alphas_cumprod))
        if window_size is not None and (window_size < 32 or window_size % 32):
            raise UserError(f"backbone.window_size: expected a multiple of 32 or null, found {window_size}.")
        if max_windows is not None and max_windows < 1:
            raise UserError(f"backbone.max_windows: expected at least 1 or null, found {max_windows}.")
        for name, channels in (
            ("projection_channels", projection_channels),
            ("bottleneck_channels", bottleneck_channels),
        ):
            if channels % normalization_groups:
                raise UserError(
                    f"backbone.{name}: expected a multiple of backbone.normalization_groups="
                    f"{normalization_groups}, found {channels}."
                )
        self.unet = TruncatedUnet(unet, gradient_checkpointing=gradient_checkpointing)
        self.vae = TruncatedVae(vae)
        self.execution = execution
        execution.prepare("unet", self.unet)
        execution.prepare("vae", self.vae)
        self.recall = FeatureRecall(
            feature_store, what="VAE features", module=self.vae, settings=execution.settings
        )
        self.latent_scale = self.vae.latent_scale
        self.projection = PyramidProjection(
            taps=[
                *map(Tap, self.vae.tap_channels, VAE_LEVELS),
                *[tap for _ in timesteps for tap in map(Tap, self.unet.tap_channels, UNET_LEVELS)],
            ],
            channels=projection_channels,
            bottleneck_channels=bottleneck_channels,
            normalization_groups=normalization_groups,
            identity_shortcut=identity_shortcut,
        )
        self.feature_channels = (projection_channels,) * 4
        self.window_size = window_size
        self.enlarge_small_images = enlarge_small_images
        self.max_windows = max_windows
        self.learning_rate_multiplier = learning_rate_multiplier
        self.conditioning_shape = ConditioningShape(
            context_length=unconditional_context.shape[1],
            context_channels=self.unet.context_channels,
            time_channels=self.unet.time_channels,
            timesteps=len(timesteps),
        )
        steps = torch.tensor(list(timesteps))
        alphas = torch.where(steps < 0, 1.0, alphas_cumprod.float().cpu()[steps.clamp(min=0)])
        generator = torch.Generator().manual_seed(noise_seed)
        noise = torch.randn(1, 4, NOISE_SIZE, NOISE_SIZE, generator=generator)
        # Made again from the configuration and the pretrained weights, so checkpoints need not hold them.
        self.register_buffer("noise", noise, persistent=False)
        self.register_buffer(
            "unconditional_context", unconditional_context.detach().float(), persistent=False
        )
        self.register_buffer("unet_timesteps", steps.clamp(min=0), persistent=False)
        self.register_buffer("signal_scale", alphas.sqrt().view(-1, 1, 1, 1, 1), persistent=False)
        self.register_buffer("noise_scale", (1 - alphas).sqrt().view(-1, 1, 1, 1, 1), persistent=False)

    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        """Compute features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; H and W multiples of 32, and equal to ``window_size`` or, with
                ``enlarge_small_images``, both smaller.
            conditioning: Added to the unconditional context and to the time embedding; None for zero.
        """
        latents, *vae_taps = self.recall(self._run_vae, self.enlarge(images))
        # Without a conditioning nothing below the projections is trained.
        with torch.no_grad() if conditioning is None else nullcontext():
            unet_taps = self._run_unet(latents.float() * self.latent_scale, conditioning)
        height, width = images.shape[-2:]
        taps = [self.execution.convert_output(tap) for tap in (*vae_taps, *unet_taps)]
        pyramid: FeaturePyramid = self.projection(taps, (height, width))
        return pyramid

    def enlarge(self, windows: Tensor) -> Tensor:
        """Bring windows (n, 3, h, w) of small images to the window's size, bicubically as in ODISE."""
        if self.window_size is None or windows.shape[-1] >= self.window_size or not self.enlarge_small_images:
            return windows
        size = (self.window_size, self.window_size)
        return F.interpolate(windows, size, mode="bicubic", align_corners=False)

    def _run_vae(self, images: Tensor) -> tuple[Tensor, ...]:
        with self.execution.context(images.device, self.training):
            latents, taps = self.vae(self.execution.convert_input(2 * images - 1))
        # Half of the channels that the VAE computes: a view, which a feature store could not give back.
        return latents.contiguous(), *taps

    def noisy_latents(self, latents: Tensor) -> Tensor:
        """Mix scaled latents (B, 4, h, w) with the fixed noise to (timesteps, B, 4, h, w)."""
        noise = self.noise
        if latents.shape[-2:] != noise.shape[-2:]:
            noise = F.interpolate(noise, latents.shape[-2:], mode="bicubic", align_corners=False)
        return self.signal_scale * latents + self.noise_scale * noise

    def _run_unet(self, latents: Tensor, conditioning: Conditioning | None) -> list[Tensor]:
        """Run all timesteps as one batch and list the taps of the first one, then of the second one, ..."""
        steps, batch = len(self.unet_timesteps), len(latents)
        context = self.unconditional_context.expand(batch, -1, -1)
        time_offset = None
        if conditioning is not None:
            context = context + conditioning.context
            time_offset = conditioning.time_embedding.transpose(0, 1).flatten(0, 1)
        convert = self.execution.convert_input
        with self.execution.context(latents.device, self.training):
            taps = self.unet(
                convert(self.noisy_latents(latents).flatten(0, 1)),
                self.unet_timesteps.repeat_interleave(batch),
                convert(context.repeat(steps, 1, 1)),
                None if time_offset is None else convert(time_offset),
            )
        return [tap for step in zip(*(tap.chunk(steps) for tap in taps), strict=True) for tap in step]


def _check_timesteps(timesteps: Sequence[int], total: int) -> None:
    if not timesteps or not all(-1 <= timestep < total for timestep in timesteps):
        raise UserError(
            f"backbone.timesteps: expected at least one value from -1 (no noise) to {total - 1}, "
            f"found {list(timesteps)}."
        )
