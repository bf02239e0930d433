"""Asks of each image only after the classes that its truth annotates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modise_lightning.structures import PanopticSegmentation


def among_annotated(class_logits: Tensor, targets: Sequence[PanopticSegmentation]) -> Tensor:
    """Take the logits of classes that an image's truth does not annotate out of every softmax.

    The softmax is then over the annotated classes and "no object". The absence of an unannotated class is no
    negative so: a query that sees an object of such a class is told which annotated class it is not, and
    nothing about the class that it is. Its logit has no influence on any loss, and its gradient is exactly
    zero.

    (The other way, to call the probability of "no object" and of all unannotated classes together right,
    would push the unannotated logits up wherever there is nothing.)

    Args:
        class_logits: (L, B, Q, K + 1); the last class is "no object".
        targets: Truth of the B images.

    Returns:
        The logits, those of unannotated classes so low that their probability is 0.
    """
    if all(target.annotated is None for target in targets):
        return class_logits
    asked = torch.ones(
        len(targets), class_logits.shape[-1], dtype=torch.bool, device=class_logits.device
    )  # "no object" always is
    for image, target in enumerate(targets):
        if target.annotated is not None:
            asked[image, :-1] = target.annotated
    # Finite: a geometric mean with another classifier's probability must not become 0 * infinity.
    never = torch.finfo(class_logits.dtype).min / 2
    return class_logits.masked_fill(~asked[None, :, None], never)
