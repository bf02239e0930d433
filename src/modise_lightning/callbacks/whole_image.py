"""Puts what the network saw of an image back where it is in the image, for pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.data.loading.transforms import luminance
from modise_lightning.structures import Batch


def whole_image(batch: Batch, index: int) -> NDArray[np.float32]:
    """Give an image of a batch in the shape of the stored one, at the scale at which the network saw it.

    Args:
        batch: Of an evaluation.
        index: Which of its images.

    Returns:
        (H, W) in [0, 1], black where the background was trimmed.
    """
    height, width = batch.image_sizes[index]
    pixels = batch.images[index, :, :height, :width].float().cpu()
    is_grey = torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[0], pixels[2])
    image = pixels[0].numpy() if is_grey else luminance(pixels.permute(1, 2, 0).contiguous().numpy())
    if batch.regions is None:
        return image
    region, record = batch.regions[index], batch.records[index]
    rows, columns = height / region.height, width / region.width
    top, left = round(region.top * rows), round(region.left * columns)
    shape = max(round(record.height * rows), top + height), max(round(record.width * columns), left + width)
    whole = np.zeros(shape, dtype=np.float32)
    whole[top : top + height, left : left + width] = image
    return whole
