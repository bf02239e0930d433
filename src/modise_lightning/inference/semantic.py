"""Semantic result: how much of each class every pixel shows."""

from __future__ import annotations

import torch
from torch import Tensor


def semantic_segmentation(class_probabilities: Tensor, mask_probabilities: Tensor) -> Tensor:
    """Sum class probability times mask probability over queries (Mask2Former, as in MaskFormer section 3.4).

    Args:
        class_probabilities: (Q, K), without "no object".
        mask_probabilities: (Q, H, W).

    Returns:
        (K, H, W); at least 0, and above 1 where several sure queries overlap.
    """
    return torch.einsum("qk,qhw->khw", class_probabilities, mask_probabilities)
