"""The pixel decoder: transformers' Mask2Former pixel decoder without its waste.

The modules, and so the names of published weights, are transformers' own; the results are the same. What is
left out: padding masks that are always empty, position embeddings made anew in every step, a wait for the
device in every layer, and copies in deformable attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderLayer,
    Mask2FormerPixelDecoderOutput,
)

from modise_lightning.mask_generator.deformable_attention import Levels, sample

_Key = tuple[tuple[tuple[int, int], ...], torch.device, torch.dtype]
_Geometry = tuple[Levels, Tensor, Tensor]


class PixelDecoder(Mask2FormerPixelDecoder):
    """Mixes three levels of features by deformable attention and upsamples them (Mask2Former, 3.2)."""

    def __init__(self, config: Mask2FormerConfig, feature_channels: Sequence[int]) -> None:
        """Build transformers' module.

        Args:
            config: Sizes.
            feature_channels: Channels of the features from high to low resolution.
        """
        super().__init__(config, feature_channels=list(feature_channels))
        self._geometry: tuple[_Key, _Geometry] | None = None

    def forward(self, features: Sequence[Tensor]) -> Mask2FormerPixelDecoderOutput:  # type: ignore[override]
        """Decode.

        Args:
            features: Maps (B, C, H / stride, W / stride) from high to low resolution.

        Returns:
            Its ``multi_scale_features`` are three maps from low to high resolution; its ``mask_features``
            have the resolution of the first features.
        """
        deepest = list(features)[::-1][: self.num_feature_levels]
        projected = [project(each) for project, each in zip(self.input_projections, deepest, strict=True)]
        tokens = torch.cat([each.flatten(2).transpose(1, 2) for each in projected], dim=1)
        shapes = tuple((each.shape[2], each.shape[3]) for each in projected)
        counts = [height * width for height, width in shapes]
        levels, sine, reference = self._geometry_of(shapes, tokens.device, tokens.dtype)
        level_embedding = torch.cat(
            [self.level_embed[level].expand(count, -1) for level, count in enumerate(counts)]
        )
        positions = sine + level_embedding
        for layer in cast(list[Mask2FormerPixelDecoderEncoderLayer], self.encoder.layers):
            tokens = _encode(layer, tokens, positions, reference, levels)
        outputs = [
            each.transpose(1, 2).reshape(len(each), -1, *shape)
            for each, shape in zip(tokens.split_with_sizes(counts, dim=1), shapes, strict=True)
        ]
        for index, feature in enumerate(list(features)[: self.num_fpn_levels][::-1]):
            lateral = self.lateral_convolutions[index](feature)
            upsampled = F.interpolate(
                outputs[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            outputs.append(self.output_convolutions[index](lateral + upsampled))
        return Mask2FormerPixelDecoderOutput(
            mask_features=self.mask_projection(outputs[-1]),
            multi_scale_features=tuple(outputs[: self.num_feature_levels]),  # type: ignore[arg-type]
        )

    def _geometry_of(
        self, shapes: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype
    ) -> _Geometry:
        """Make, or keep from the last call, the levels, their positions and the tokens' places in [0, 1]."""
        key = (shapes, device, dtype)
        if self._geometry is None or self._geometry[0] != key:
            # A validation under inference mode may come first; training cannot use its tensors.
            with torch.inference_mode(False), torch.no_grad():
                sine = [
                    self.position_embedding(torch.Size((1, 1, *shape)), device, dtype).flatten(2)[0].T
                    for shape in shapes
                ]
                levels = Levels.of(shapes, device, dtype)
                places = [_centres(height, width, device, levels.sizes.dtype) for height, width in shapes]
                made = (levels, torch.cat(sine).contiguous(), torch.cat(places))
            self._geometry = (key, made)
        return self._geometry[1]


def _centres(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """List the centres of a map's cells as (x, y) in [0, 1]; (height * width, 2)."""
    y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=-1)


def _encode(
    layer: Mask2FormerPixelDecoderEncoderLayer,
    tokens: Tensor,
    positions: Tensor,
    reference: Tensor,
    levels: Levels,
) -> Tensor:
    """Run one layer: deformable attention, feed-forward."""
    attention = layer.self_attn
    batch, count, channels = tokens.shape
    heads, points = attention.n_heads, attention.n_points
    placed = tokens + positions
    value = attention.value_proj(tokens).view(batch, count, heads, channels // heads)
    offsets = attention.sampling_offsets(placed).view(batch, count, heads, len(levels.shapes), points, 2)
    weights = attention.attention_weights(placed).view(batch, count, heads, -1).softmax(-1)
    locations = reference[:, None, None, None] + offsets / levels.sizes[:, None]
    sampled = sample(value, levels, locations, weights.view(offsets.shape[:-1]))
    change = F.dropout(attention.output_proj(sampled), layer.dropout, layer.training)
    tokens = layer.self_attn_layer_norm(tokens + change)
    hidden = F.dropout(layer.activation_fn(layer.fc1(tokens)), layer.activation_dropout, layer.training)
    change = F.dropout(layer.fc2(hidden), layer.dropout, layer.training)
    tokens = layer.final_layer_norm(tokens + change)
    if layer.training and tokens.dtype == torch.float16:
        # transformers clamps after asking the device whether it must; to clamp always needs no answer.
        limit = torch.finfo(tokens.dtype).max - 1000
        tokens = tokens.clamp(-limit, limit)
    return tokens
