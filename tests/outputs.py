"""Outputs of a network that have given masks."""

import torch
from torch import Tensor

from modise_lightning.structures import SegmenterOutput


def as_product(mask_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Split masks (L, B, Q, H, W) into embeddings and features of which they are the product.

    Each mask is a channel of the features, which its embedding picks; exact, as only zeros are added.

    Returns:
        Mask embeddings (L, B, Q, L * Q) and mask features (B, L * Q, H, W), both able to have gradients.
    """
    predictions, images, queries = mask_logits.shape[:3]
    embeddings = torch.eye(predictions * queries, dtype=mask_logits.dtype)
    embeddings = embeddings.view(predictions, 1, queries, -1).repeat(1, images, 1, 1)
    return embeddings, mask_logits.transpose(0, 1).flatten(1, 2).contiguous()


def output_with_masks(class_logits: Tensor, mask_logits: Tensor) -> SegmenterOutput:
    """Make the output that has these class logits (L, B, Q, K + 1) and masks (L, B, Q, H, W)."""
    return SegmenterOutput(class_logits, *as_product(mask_logits))


def all_masks(output: SegmenterOutput) -> Tensor:
    """Compute the masks of all predictions, (L, B, Q, H, W)."""
    return torch.stack([output.mask_logits(index) for index in range(len(output.mask_embeddings))])
