"""One token a mask in a frozen vision transformer of CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from modise_lightning.errors import UserError


@dataclass(frozen=True)
class _Layer:
    """A pre-norm layer of either library: attention with one matrix for query, key and value, then an MLP."""

    attention_norm: nn.Module
    weight: Tensor
    bias: Tensor | None
    num_heads: int
    output: nn.Module
    attention_scale: nn.Module
    mlp_norm: nn.Module
    mlp: nn.Module
    mlp_scale: nn.Module


def encode_masks(tower: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Encode what masks show of images.

    Args:
        tower: open_clip's vision transformer, or timm's in open_clip's wrapper.
        images: (B, 3, size, size), normalised.
        masks: (B, Q, size, size) bool; a mask's token attends to the patches of which it has a pixel.

    Returns:
        (B, Q, D), not normalised.

    Raises:
        UserError: The tower is of another kind.
    """
    # Any: neither library types its modules.
    vision = cast(Any, tower)
    if isinstance(tower, VisionTransformer) and vision.attn_pool is None and vision.pool_type == "tok":
        tokens, patch, layers = _open_clip_tokens(vision, images), vision.conv1.stride, _open_clip(vision)
    elif isinstance(tower, TimmModel) and getattr(vision.trunk, "cls_token", None) is not None:
        trunk = vision.trunk
        tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))
        patch, layers = trunk.patch_embed.patch_size, _timm(trunk)
    else:
        raise UserError(
            f"clip_head: the image tower is a {type(tower).__name__} without a class token, which masks "
            "cannot be shown to. Use OpenAI's CLIP or BiomedCLIP, or clip_head.enabled=false."
        )
    touched = F.max_pool2d(masks.float(), patch, patch).flatten(2) > 0  # (B, Q, patches)
    batch, num_masks = touched.shape[:2]
    num_tokens = tokens.shape[1]
    own = torch.ones(batch, num_masks, 1, dtype=torch.bool, device=touched.device)  # the class token
    everything = own.new_ones(batch, num_tokens, num_tokens)
    attended = torch.cat([everything, torch.cat([own, touched], dim=2)], dim=1)[:, None]
    states = torch.cat([tokens, tokens[:, :1].expand(-1, num_masks, -1)], dim=1)
    for layer in layers:
        states = _run(layer, states, num_tokens, attended)
    result = states[:, num_tokens:]
    if isinstance(tower, VisionTransformer):
        result = vision.ln_post(result)
        projected: Tensor = result if vision.proj is None else result @ vision.proj
        return projected
    trunk = vision.trunk
    encoded: Tensor = vision.head(trunk.head(trunk.fc_norm(trunk.norm(result))))
    return encoded


def _open_clip_tokens(vision: Any, images: Tensor) -> Tensor:  # noqa: ANN401 (open_clip types nothing)
    patches = vision.conv1(images).flatten(2).transpose(1, 2)
    class_token = vision.class_embedding.expand(len(images), 1, -1)
    tokens: Tensor = vision.ln_pre(torch.cat([class_token, patches], dim=1) + vision.positional_embedding)
    return tokens


def _open_clip(vision: Any) -> Iterator[_Layer]:  # noqa: ANN401 (as above)
    for block in vision.transformer.resblocks:
        attention = block.attn
        yield _Layer(
            block.ln_1,
            attention.in_proj_weight,
            attention.in_proj_bias,
            attention.num_heads,
            attention.out_proj,
            block.ls_1,
            block.ln_2,
            block.mlp,
            block.ls_2,
        )


def _timm(trunk: Any) -> Iterator[_Layer]:  # noqa: ANN401 (as above)
    for block in trunk.blocks:
        attention = block.attn
        yield _Layer(
            block.norm1,
            attention.qkv.weight,
            attention.qkv.bias,
            attention.num_heads,
            attention.proj,
            block.ls1,
            block.norm2,
            block.mlp,
            block.ls2,
        )


def _run(layer: _Layer, states: Tensor, num_tokens: int, attended: Tensor) -> Tensor:
    """Run a layer on (B, tokens and masks, C); only the tokens are attended to."""
    batch, _, channels = states.shape
    normed = layer.attention_norm(states)
    weight, bias = layer.weight, layer.bias
    query = F.linear(normed, weight[:channels], None if bias is None else bias[:channels])
    seen = F.linear(normed[:, :num_tokens], weight[channels:], None if bias is None else bias[channels:])
    key, value = seen.chunk(2, dim=-1)
    query, key, value = (
        each.view(batch, -1, layer.num_heads, channels // layer.num_heads).transpose(1, 2)
        for each in (query, key, value)
    )
    change = F.scaled_dot_product_attention(query, key, value, attended)
    states = states + layer.attention_scale(layer.output(change.transpose(1, 2).flatten(2)))
    result: Tensor = states + layer.mlp_scale(layer.mlp(layer.mlp_norm(states)))
    return result
