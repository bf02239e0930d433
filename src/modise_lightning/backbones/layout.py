"""Checks that a diffusion model has the layout of Stable Diffusion 1, which the features are tapped from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modise_lightning.errors import UserError

# Where Stable Diffusion 1 puts the tapped blocks, and what the truncated forward computes; sizes are free.
# Keys that a UNet's config.json leaves out have diffusers' defaults, which are these.
UNET_LAYOUT: dict[str, object] = {
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "layers_per_block": 2,
    "center_input_sample": False,
    "time_embedding_act_fn": None,
    "class_embed_type": None,
    "num_class_embeds": None,
    "addition_embed_type": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
}
VAE_LAYOUT: dict[str, object] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}


def check_unet(config: Mapping[str, Any], where: str) -> None:
    """Check the configuration of a UNet.

    Args:
        config: Arguments of diffusers' UNet2DConditionModel.
        where: File or key that it is from, for the message.

    Raises:
        UserError: It is an inpainting model or has another layout.
    """
    channels = config.get("in_channels", 4)
    if channels != 4:
        reason = " (an inpainting model, which also takes a mask and a masked image)" if channels == 9 else ""
        raise UserError(
            f"backbone: {where}: in_channels is {channels}{reason}, expected 4. Use a text-to-image model."
        )
    _check_layout({**UNET_LAYOUT, **config}, UNET_LAYOUT, where)
    if not isinstance(config.get("cross_attention_dim"), int):
        raise UserError(
            f"backbone: {where}: cross_attention_dim has to be one number. Use Stable Diffusion's layout."
        )


def check_vae(config: Mapping[str, Any], where: str) -> None:
    """Check the configuration of a VAE.

    Args:
        config: Arguments of diffusers' AutoencoderKL.
        where: File or key that it is from, for the message.

    Raises:
        UserError: It has another layout.
    """
    _check_layout(config, VAE_LAYOUT, where)
    plain = {"latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True, "shift_factor": None}
    _check_layout({**plain, **config}, plain, where)


def _check_layout(config: Mapping[str, Any], layout: Mapping[str, object], where: str) -> None:
    for key, expected in layout.items():
        found = config.get(key)
        if (list(found) if isinstance(found, tuple) else found) != expected:
            raise UserError(
                f"backbone: {where}: {key} is {found!r}, expected {expected!r}: the features are tapped from "
                "the layout of Stable Diffusion 1. Use a model with that layout."
            )
