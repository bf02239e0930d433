"""Puts the prediction of a part of an image back into the whole image."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import pad

from modise_lightning.structures import (
    InstanceSegmentation,
    PanopticSegmentation,
    PixelUncertainty,
    Prediction,
    Region,
)


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
    margins = _margins(region, height, width)

    def placed(maps: Tensor) -> Tensor:
        return pad(maps, margins)

    instances = prediction.instances
    uncertainty = prediction.uncertainty
    return Prediction(
        panoptic=place_panoptic(prediction.panoptic, region, height, width),
        instances=InstanceSegmentation(instances.packed.placed(*margins), instances.labels, instances.scores),
        semantic=placed(prediction.semantic),
        uncertainty=uncertainty
        and PixelUncertainty(placed(uncertainty.entropy), placed(uncertainty.disagreement)),
    )


def place_panoptic(
    panoptic: PanopticSegmentation, region: Region, height: int, width: int
) -> PanopticSegmentation:
    """Put segments where their part of the image is; likewise."""
    return replace(panoptic, segment_ids=pad(panoptic.segment_ids, _margins(region, height, width)))


def _margins(region: Region, height: int, width: int) -> tuple[int, int, int, int]:
    return (
        region.left,
        width - region.left - region.width,
        region.top,
        height - region.top - region.height,
    )
