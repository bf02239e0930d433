"""The set criterion: class, mask and Dice losses of all predictions after matching (Mask2Former, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from modise_lightning.errors import UserError
from modise_lightning.losses.annotated_classes import among_annotated
from modise_lightning.losses.matching import UNMATCHED, HungarianMatcher
from modise_lightning.losses.point_sampling import choose_uncertain_points, sample_points
from modise_lightning.structures import PanopticSegmentation, SegmenterOutput


class SetCriterion(nn.Module):
    """Compares the classified masks of every prediction with the ground truth."""

    def __init__(
        self,
        *,
        class_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        mask_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        dice_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        no_object_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)],
        num_points: PositiveInt,
        oversample_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)],
        importance_ratio: Annotated[float, Field(ge=0, le=1)],
    ) -> None:
        """Set the weights; matching uses the same ones.

        Args:
            class_weight: Of the cross-entropy.
            mask_weight: Of the masks' binary cross-entropy.
            dice_weight: Of the masks' Dice loss.
            no_object_weight: Weight of the "no object" class in the cross-entropy.
            num_points: Points a mask that the mask losses see, and an image that the matching sees.
            oversample_ratio: See ``choose_uncertain_points``.
            importance_ratio: See ``choose_uncertain_points``.
        """
        super().__init__()
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio
        self.matcher = HungarianMatcher(
            class_cost=class_weight, mask_cost=mask_weight, dice_cost=dice_weight, num_points=num_points
        )

    def forward(
        self,
        output: SegmenterOutput,
        targets: Sequence[PanopticSegmentation],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses, in float32 whatever the precision of the network.

        Args:
            output: L predictions of B images.
            targets: Segments of each image, all of the same size, which the mask features cover. Void pixels
                are outside of every segment. The classes that a target does not annotate are not asked
                after in its image, neither in the matching nor in the loss (``among_annotated``).
            generator: Of the sampled points, on the device of the output; PyTorch's own if None.

        Returns:
            ``loss``, the weighted total over all predictions; and, not weighted, ``class``, ``mask`` and
            ``dice`` of the last prediction and ``class_0`` ... of the earlier ones.

        Raises:
            UserError: The targets are not one an image, or of different sizes.
        """
        _check_targets(targets, len(output.mask_features))
        device = output.mask_features.device
        with torch.autocast(device.type, enabled=False):
            labels = [target.labels for target in targets]
            # All masks of the batch once, in one place: they are the largest part of the targets.
            masks = torch.cat([target.masks for target in targets]).float()
            of_image = torch.split(masks, [len(own) for own in labels])
            class_logits = among_annotated(output.class_logits.float(), targets)
            asked = SegmenterOutput(class_logits, output.mask_embeddings, output.mask_features)
            queries = self.matcher(asked, of_image, labels, generator)
            image_of = torch.cat([torch.full_like(own, image) for image, own in enumerate(labels)])
            classes = self.class_losses(class_logits, queries, image_of, torch.cat(labels))
            count = _mean_over_processes(len(image_of), device)
            logits = matched_mask_logits(output, queries, [len(own) for own in labels])
            mask, dice = self.mask_losses(logits, queries, masks, count, generator)
        total = self.class_weight * classes + self.mask_weight * mask + self.dice_weight * dice
        losses = {"loss": total.sum()}
        for name, values in (("class", classes), ("mask", mask), ("dice", dice)):
            *auxiliary, last = values.unbind()
            losses[name] = last
            losses |= {f"{name}_{index}": value for index, value in enumerate(auxiliary)}
        return losses

    def class_losses(self, class_logits: Tensor, queries: Tensor, image_of: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted cross-entropy of each prediction.

        Args:
            class_logits: (L, B, Q, K + 1).
            queries: (L, N) matched query of each segment.
            image_of: (N,) image of each segment.
            labels: (N,) class of each segment.

        Returns:
            (L,) averages, weighted by the classes' weights.
        """
        num_predictions, num_images, num_queries, num_classes = class_logits.shape
        no_object = num_classes - 1
        # Unmatched segments write to one query more, cut off later: selecting them would wait for the device.
        shape = (num_predictions, num_images, num_queries + 1)
        wanted = torch.full(shape, no_object, device=class_logits.device)
        prediction = torch.arange(num_predictions, device=class_logits.device)[:, None]
        query = torch.where(queries == UNMATCHED, num_queries, queries)
        wanted[prediction, image_of[None], query] = labels[None].expand_as(query)
        wanted = wanted[..., :num_queries]
        weights = torch.where(wanted == no_object, self.no_object_weight, 1.0)
        entropy = cross_entropy(class_logits.flatten(0, 2), wanted.flatten(), reduction="none")
        weighted = entropy.view_as(weights) * weights
        return weighted.view(num_predictions, -1).sum(1) / weights.view(num_predictions, -1).sum(1)

    def mask_losses(
        self,
        logits: Tensor,
        queries: Tensor,
        masks: Tensor,
        count: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the mask losses of the matched queries at sampled points.

        Args:
            logits: (L, N, h, w) masks of the matched queries.
            queries: (L, N) matched query of each segment.
            masks: (N, H, W) float ground truth.
            count: Number of masks to divide by.
            generator: Of the sampled points; PyTorch's own if None.

        Returns:
            Binary cross-entropy and Dice loss, each (L,).
        """
        num_predictions, num_segments = queries.shape
        weights = (queries != UNMATCHED).float()
        if not num_segments:
            nothing = logits.sum((1, 2, 3))
            return nothing, nothing
        flat = logits.flatten(0, 1)[:, None]
        points = choose_uncertain_points(
            flat,
            num_points=self.num_points,
            oversample_ratio=self.oversample_ratio,
            importance_ratio=self.importance_ratio,
            generator=generator,
        )
        sampled = sample_points(flat, points).view(num_predictions, num_segments, self.num_points)
        # Every prediction's points of a mask in one call: the masks are not repeated.
        by_segment = points.view(num_predictions, num_segments, self.num_points, 2)
        by_segment = by_segment.transpose(0, 1).flatten(1, 2)
        truth = sample_points(masks[:, None], by_segment)  # (N, 1, L * P)
        truth = truth.view(num_segments, num_predictions, self.num_points).transpose(0, 1)
        entropy = binary_cross_entropy_with_logits(sampled, truth, reduction="none").mean(-1)
        probabilities = sampled.sigmoid()
        dice = 1 - (2 * (probabilities * truth).sum(-1) + 1) / (probabilities.sum(-1) + truth.sum(-1) + 1)
        return (entropy * weights).sum(1) / count, (dice * weights).sum(1) / count


def matched_mask_logits(output: SegmenterOutput, queries: Tensor, counts: Sequence[int]) -> Tensor:
    """Compute the masks of matched queries only: those of the others have no gradient.

    Args:
        output: L predictions of B images.
        queries: (L, N) matched query of each segment; for an unmatched one, some query's mask is computed.
        counts: Segments of each image, N together.

    Returns:
        (L, N, h, w) float32.
    """
    features = output.mask_features.float()
    embeddings = output.mask_embeddings.float()
    of_image = [
        torch.einsum("lqc,chw->lqhw", _select(embeddings[:, image], own), features[image])
        for image, own in enumerate(torch.split(queries.clamp(min=0), list(counts), dim=1))
    ]
    return torch.cat(of_image, dim=1)


def _select(embeddings: Tensor, queries: Tensor) -> Tensor:
    """Pick (L, N, C) of (L, Q, C)."""
    return embeddings.gather(1, queries[..., None].expand(-1, -1, embeddings.shape[-1]))


def _check_targets(targets: Sequence[PanopticSegmentation], num_images: int) -> None:
    if len(targets) != num_images:
        raise UserError(
            f"criterion: {num_images} images have {len(targets)} targets. Give one target an image."
        )
    sizes = sorted({tuple(target.segment_ids.shape) for target in targets})
    if len(sizes) > 1:
        raise UserError(
            f"criterion: the targets of a batch have different sizes, {sizes[0]} and {sizes[-1]}. "
            "Pad them to the size of the batch's images."
        )


def _mean_over_processes(count: int, device: torch.device) -> Tensor:
    """Average the number of masks over all processes, at least 1, so that each mask counts the same."""
    total = torch.full((), float(count), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.clamp(min=1)
