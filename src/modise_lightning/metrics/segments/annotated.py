"""Leaves out of a prediction what its truth says nothing of: the classes that are not annotated there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction


def only_annotated(prediction: Prediction, target: PanopticSegmentation) -> Prediction:
    """Keep the predicted segments of annotated classes; the others are neither right nor wrong.

    Args:
        prediction: Of an image, for K classes.
        target: Its truth, which may annotate some of them only.

    Returns:
        Panoptic segments and instances of annotated classes, the former numbered anew; in the semantic result
        the other classes have no value, which leaves it to the background.
    """
    if target.annotated is None or target.annotated.all():
        return prediction
    instances = prediction.instances
    kept = target.annotated.to(instances.labels.device)[instances.labels]
    semantic = prediction.semantic
    if len(semantic) == len(target.annotated):
        semantic = semantic * target.annotated.to(semantic)[:, None, None]
    return Prediction(
        panoptic=_keep(prediction.panoptic, target.annotated),
        instances=InstanceSegmentation(
            instances.packed[kept], instances.labels[kept], instances.scores[kept]
        ),
        semantic=semantic,
    )


def _keep(panoptic: PanopticSegmentation, annotated: Tensor) -> PanopticSegmentation:
    kept = annotated.to(panoptic.labels.device)[panoptic.labels]
    # From ids -1, 0 and 1..N to those that are left; the last entry is that of -1.
    new = torch.zeros(len(kept) + 2, dtype=torch.int64, device=kept.device)
    new[1:-1] = torch.where(kept, kept.cumsum(0), 0)
    new[-1] = -1
    return replace(
        panoptic,
        segment_ids=new.to(panoptic.segment_ids.device)[panoptic.segment_ids],
        labels=panoptic.labels[kept],
        scores=None if panoptic.scores is None else panoptic.scores[kept.to(panoptic.scores.device)],
    )
