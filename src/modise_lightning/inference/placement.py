"""Puts the prediction of a part of an image back into the whole image."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import pad

from modise_lightning.structures import InstanceSegmentation, PixelUncertainty, Prediction, Region


def place_prediction(prediction: Prediction, region: Region, height: int, width: int) -> Prediction:
    """Put a prediction where its part of the image is; there is nothing around it.

    Args:
        prediction: Of the region, at its size.
        region: The part, inside the image.
        height: Of the image.
        width: Of the image.

    Returns:
        The same segments and scores, at (height, width).
    """
    if (region.height, region.width) == (height, width):
        return prediction
    margins = (
        region.left,
        width - region.left - region.width,
        region.top,
        height - region.top - region.height,
    )

    def placed(maps: Tensor) -> Tensor:
        return pad(maps, margins)

    panoptic, instances = prediction.panoptic, prediction.instances
    uncertainty = prediction.uncertainty
    return Prediction(
        panoptic=replace(panoptic, segment_ids=placed(panoptic.segment_ids)),
        instances=InstanceSegmentation(instances.packed.placed(*margins), instances.labels, instances.scores),
        semantic=placed(prediction.semantic),
        uncertainty=uncertainty
        and PixelUncertainty(placed(uncertainty.entropy), placed(uncertainty.disagreement)),
    )
