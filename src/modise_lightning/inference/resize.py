"""Mask logits at the size of the stored image."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def resize_mask_logits(
    mask_logits: Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> Tensor:
    """Upsample the masks of one image, take its part of the padded input, and resize that (Mask2Former).

    Args:
        mask_logits: (Q, h, w) over the padded input.
        padded_size: Height and width of the padded input.
        image_size: Height and width of the image inside the padding (top left).
        output_size: Height and width of the result.

    Returns:
        (Q, H, W) float32 of the output size.
    """
    height, width = image_size
    masks = _bilinear(mask_logits.float(), padded_size)[:, :height, :width]
    return masks if image_size == output_size else _bilinear(masks, output_size)


def _bilinear(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if len(masks) == 0:  # which PyTorch does not resize
        return masks.new_zeros(0, *size)
    return functional.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]
