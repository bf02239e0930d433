"""Averages features inside masks that exist only while they are averaged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx


def pool_masks(mask_features: Tensor, mask_embeddings: Tensor) -> Tensor:
    """Average the mask features inside each mask, thresholded at 0.5; no gradient reaches the masks.

    Args:
        mask_features: (B, C, H, W).
        mask_embeddings: (L, B, Q, C); their products with the mask features are the mask logits.

    Returns:
        (L, B, Q, C); zeros for an empty mask.
    """
    # Under autocast the backward pass would compute in another precision than the forward pass.
    with torch.autocast(mask_features.device.type, enabled=False):
        pooled: Tensor = _PoolMasks.apply(mask_features.flatten(2), mask_embeddings.to(mask_features.dtype))
    return pooled


class _PoolMasks(torch.autograd.Function):
    """One prediction at a time, and of each mask one byte a pixel is kept for the backward pass.

    Automatic differentiation would keep the logits' products in full precision: 10 predictions of 100 masks
    are half a gigabyte for two images of 1024 x 1024 pixels.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, embeddings: Tensor) -> Tensor:
        pooled, kept = [], []
        for prediction in embeddings:
            inside = torch.bmm(prediction, features) > 0  # sigmoid(x) > 0.5
            inverse_area = inside.sum(-1, keepdim=True).clamp(min=1).reciprocal().to(features.dtype)
            weights = inside.to(features.dtype) * inverse_area
            pooled.append(torch.bmm(weights, features.transpose(1, 2)))
            kept += [inside, inverse_area]
        ctx.save_for_backward(*kept)
        return torch.stack(pooled)

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None]:
        kept: tuple[Tensor, ...] = ctx.saved_tensors
        total: Tensor | None = None
        for gradient, inside, inverse_area in zip(gradients[0], kept[::2], kept[1::2], strict=True):
            weights = inside.to(gradient.dtype) * inverse_area
            part = torch.bmm(gradient.transpose(1, 2), weights)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total, None
