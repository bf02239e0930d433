"""Instance result: scored masks of the thing classes, which may overlap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modise_lightning.structures import InstanceSegmentation


def instance_segmentation(
    class_probabilities: Tensor,
    mask_probabilities: Tensor,
    *,
    isthing: Tensor,
    max_instances: int,
    mask_threshold: float,
) -> InstanceSegmentation:
    """Take the most probable query-class pairs as instances (Mask2Former).

    An instance's score is its class probability times the mean mask probability inside its mask. Pairs of
    stuff classes take up places but make no instance, as in Mask2Former; nor do empty masks (score 0).

    Args:
        class_probabilities: (Q, K), without "no object".
        mask_probabilities: (Q, H, W).
        isthing: (K,) bool.
        max_instances: Number of query-class pairs that are considered.
        mask_threshold: A pixel with a larger probability belongs to the mask.
    """
    num_queries, num_categories = class_probabilities.shape
    top = class_probabilities.flatten().topk(min(max_instances, num_queries * num_categories))
    query = top.indices.div(num_categories, rounding_mode="floor")
    label = top.indices % num_categories

    masks = mask_probabilities > mask_threshold
    # Bytes add up faster than bools; threshold sets the pixels outside the mask to 0.
    area = masks.view(torch.uint8).flatten(1).sum(1, dtype=torch.int32)
    inside = functional.threshold(mask_probabilities, mask_threshold, 0.0).flatten(1).sum(1) / area.clamp(
        min=1
    )

    kept = isthing[label] & (area[query] > 0)
    query, label, score = query[kept], label[kept], top.values[kept]
    scores = score * inside[query]
    order = torch.argsort(scores, descending=True, stable=True)
    return InstanceSegmentation(masks=masks[query[order]], labels=label[order], scores=scores[order])
