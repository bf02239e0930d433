"""The transformer decoder: transformers' Mask2Former decoder, computed without full-resolution masks.

Masks are products of mask embeddings and mask features. Resizing is linear, so the masks that restrict the
attention come from mask features that are resized once a level, and no mask is ever as large as the features
unless somebody asks for it. The modules, and so the names of published weights, are transformers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoderLayer,
    Mask2FormerTransformerModule,
)


class TransformerDecoder(Mask2FormerTransformerModule):
    """Refines learned queries by masked attention over three levels of features (Mask2Former, 3.2)."""

    def __init__(self, in_features: int, config: Mask2FormerConfig) -> None:
        """Build transformers' module.

        Args:
            in_features: Channels of the multi-scale features.
            config: Sizes; ``decoder_layers`` counts the prediction from the learned queries too.
        """
        super().__init__(in_features=in_features, config=config)
        # transformers also leaves whole layers out with this probability, and with them their predictions.
        self.decoder.layerdrop = 0.0

    def forward(  # type: ignore[override]
        self, multi_scale_features: Sequence[Tensor], mask_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            multi_scale_features: Three maps (B, in_features, h, w) from low to high resolution.
            mask_features: (B, C, H / 4, W / 4).

        Returns:
            Layer-normed query states and mask embeddings, each (L, B, Q, C).
        """
        batch = len(mask_features)
        tokens, positions, mask_tokens = [], [], []
        for level, features in enumerate(multi_scale_features):
            projected = self.input_projections[level](features).flatten(2).transpose(1, 2)
            tokens.append(projected + self.level_embed.weight[level])
            # One image's positions are every image's.
            one = self.position_embedder(features[:1].shape, features.device, features.dtype, None)
            positions.append(one.flatten(2).transpose(1, 2))
            resized = F.interpolate(
                mask_features.detach(), features.shape[-2:], mode="bilinear", align_corners=False
            )
            mask_tokens.append(resized.flatten(2))

        queries = self.queries_features.weight.expand(batch, -1, -1)
        query_positions = self.queries_embedder.weight
        states = [self.decoder.layernorm(queries)]
        mask_embeddings = [self.decoder.mask_predictor.mask_embedder(states[0])]
        layers = cast(list[Mask2FormerMaskedAttentionDecoderLayer], self.decoder.layers)
        for index, layer in enumerate(layers):
            level = index % len(tokens)
            attended = _attended(mask_embeddings[-1], mask_tokens[level])
            queries = _decode(layer, queries, query_positions, tokens[level], positions[level], attended)
            states.append(self.decoder.layernorm(queries))
            mask_embeddings.append(self.decoder.mask_predictor.mask_embedder(states[-1]))
        return torch.stack(states), torch.stack(mask_embeddings)


@torch.no_grad()
def _attended(mask_embeddings: Tensor, mask_tokens: Tensor) -> Tensor:
    """Say which tokens each query looks at: those in its mask, or all if it is empty; (B, 1, Q, tokens)."""
    inside = torch.bmm(mask_embeddings, mask_tokens) >= 0  # sigmoid(x) >= 0.5
    return (inside | ~inside.any(-1, keepdim=True))[:, None]


def _decode(
    layer: Mask2FormerMaskedAttentionDecoderLayer,
    queries: Tensor,
    query_positions: Tensor,
    tokens: Tensor,
    positions: Tensor,
    attended: Tensor,
) -> Tensor:
    """Run one layer: masked attention, attention among the queries, feed-forward."""
    cross, own = layer.cross_attn, layer.self_attn
    query, key, value = cross.in_proj_weight.chunk(3)
    query_bias, key_bias, value_bias = cross.in_proj_bias.chunk(3)

    def attend_to_tokens(states: Tensor) -> Tensor:
        result = _attend(
            layer,
            F.linear(states + query_positions, query, query_bias),
            F.linear(tokens + positions, key, key_bias),
            F.linear(tokens, value, value_bias),
            attended,
        )
        return F.linear(result, cross.out_proj.weight, cross.out_proj.bias)

    def attend_to_queries(states: Tensor) -> Tensor:
        placed = states + query_positions
        result: Tensor = own.out_proj(
            _attend(layer, own.q_proj(placed), own.k_proj(placed), own.v_proj(states))
        )
        return result

    def feed_forward(states: Tensor) -> Tensor:
        hidden = layer.activation_fn(layer.fc1(states))
        result: Tensor = layer.fc2(F.dropout(hidden, layer.activation_dropout, layer.training))
        return result

    for part, norm in (
        (attend_to_tokens, layer.cross_attn_layer_norm),
        (attend_to_queries, layer.self_attn_layer_norm),
        (feed_forward, layer.final_layer_norm),
    ):
        change = part(norm(queries) if layer.pre_norm else queries)
        queries = queries + F.dropout(change, layer.dropout, layer.training)
        queries = queries if layer.pre_norm else norm(queries)
    return queries


def _attend(
    layer: Mask2FormerMaskedAttentionDecoderLayer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attended: Tensor | None = None,
) -> Tensor:
    """Attend with several heads, (B, Q, C) to (B, S, C)."""
    batch, length, channels = query.shape
    heads = layer.self_attn.num_heads
    query, key, value = (
        each.view(batch, -1, heads, channels // heads).transpose(1, 2) for each in (query, key, value)
    )
    dropout = layer.dropout if layer.training else 0.0
    result = F.scaled_dot_product_attention(query, key, value, attended, dropout_p=dropout)
    return result.transpose(1, 2).reshape(batch, length, channels)
