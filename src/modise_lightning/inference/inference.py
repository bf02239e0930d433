"""From a segmenter's output to the predictions of each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from modise_lightning.errors import UserError
from modise_lightning.inference.clip_head import ClipHead
from modise_lightning.inference.instance import InstanceAccumulator
from modise_lightning.inference.panoptic import PanopticAccumulator
from modise_lightning.inference.semantic import SemanticAccumulator
from modise_lightning.inference.tiles import Tile, upsampled_tiles
from modise_lightning.structures import Prediction, SegmenterOutput

SemanticKind = Literal["classes", "any_thing", "none"]


class Inference:
    """Makes panoptic, instance and semantic predictions as Mask2Former does, at the stored images' sizes."""

    def __init__(
        self,
        *,
        score_threshold: float,
        no_object_competes: bool,
        overlap_threshold: float,
        mask_threshold: float,
        max_instances: int,
        isthing: Sequence[bool],
        clip_head: ClipHead | None = None,
    ) -> None:
        """Set the rules.

        Args:
            score_threshold: Probability that a query's best class must exceed to make a panoptic segment, in
                [0, 1).
            no_object_competes: Whether "no object" must not be more probable than that class either.
            overlap_threshold: Least share of its mask that a query must win from the others, in [0, 1].
            mask_threshold: Probability from which a pixel belongs to a mask, in (0, 1).
            max_instances: Largest number of instances of an image.
            isthing: For each of the K classes, whether its instances are told apart.
            clip_head: Takes part in the classification; None for none.

        Raises:
            UserError: A value is out of its range.
        """
        ranges = {
            "score_threshold": (score_threshold, 0 <= score_threshold < 1, "in [0, 1)"),
            "overlap_threshold": (overlap_threshold, 0 <= overlap_threshold <= 1, "in [0, 1]"),
            "mask_threshold": (mask_threshold, 0 < mask_threshold < 1, "in (0, 1)"),
            "max_instances": (max_instances, max_instances >= 1, "at least 1"),
        }
        for name, (value, fits, expected) in ranges.items():
            if not fits:
                raise UserError(f"inference.{name} must be {expected}; found {value}.")
        self.score_threshold = score_threshold
        self.no_object_competes = no_object_competes
        self.overlap_threshold = overlap_threshold
        self.mask_threshold = mask_threshold
        self.max_instances = max_instances
        self.isthing = tuple(isthing)
        self.clip_head = clip_head

    @torch.no_grad()
    def __call__(
        self,
        output: SegmenterOutput,
        padded_size: tuple[int, int],
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
        images: Tensor | None = None,
        semantic: SemanticKind = "classes",
    ) -> list[Prediction]:
        """Predict from the last of the L predictions.

        Args:
            output: Of B images.
            padded_size: Height and width of the padded input.
            image_sizes: Height and width of each image inside the padding.
            output_sizes: Height and width of each result (the stored image's).
            images: (B, 3, *padded_size) in [0, 1]; a CLIP head looks at them.
            semantic: What the semantic result shows of each pixel: a value for each of the ``classes``, one
                for ``any_thing`` of all thing classes together, or nothing (``none``).
        """
        class_probabilities, mask_logits = self.classify(output, images)
        with torch.autocast(mask_logits.device.type, enabled=False):
            return [
                self.predict_image(
                    classes,
                    (
                        (tile, tile.logits.sigmoid_())
                        for tile in upsampled_tiles(
                            masks, padded_size=padded_size, image_size=image_size, output_size=output_size
                        )
                    ),
                    output_size,
                    semantic,
                )
                for classes, masks, image_size, output_size in zip(
                    class_probabilities, mask_logits, image_sizes, output_sizes, strict=True
                )
            ]

    @torch.no_grad()
    def classify(self, output: SegmenterOutput, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the last prediction's classes and masks, in float32.

        Args:
            output: Of B images.
            images: (B, 3, *padded_size) in [0, 1]; a CLIP head looks at them.

        Returns:
            (B, Q, K + 1) probabilities, the last one "no object"; (B, Q, H / 4, W / 4) mask logits.
        """
        device = output.class_logits.device
        # Half precision is not enough for masks that compete, and its products would be no faster here.
        with torch.autocast(device.type, enabled=False):
            if self.clip_head is not None:
                assert images is not None
                self.clip_head.to(device)
                output = self.clip_head(images, output)
            return output.class_logits[-1].float().softmax(-1), output.mask_logits()

    @torch.no_grad()
    def predict_image(
        self,
        probabilities_with_no_object: Tensor,
        tiles: Iterable[tuple[Tile, Tensor]],
        output_size: tuple[int, int],
        semantic_kind: SemanticKind,
    ) -> Prediction:
        """Predict one image from its queries.

        Args:
            probabilities_with_no_object: (Q, K + 1) of the classes.
            tiles: All tiles of the result, each with the masks' probabilities (Q, h, w).
            output_size: Height and width of the result.
            semantic_kind: What the semantic result shows of each pixel.
        """
        isthing = torch.tensor(self.isthing, device=probabilities_with_no_object.device)
        class_probabilities = probabilities_with_no_object[:, :-1]
        panoptic = PanopticAccumulator(
            class_probabilities,
            probabilities_with_no_object[:, -1],
            output_size,
            isthing=isthing,
            score_threshold=self.score_threshold,
            no_object_competes=self.no_object_competes,
            overlap_threshold=self.overlap_threshold,
            mask_threshold=self.mask_threshold,
        )
        instances = InstanceAccumulator(
            class_probabilities,
            output_size,
            isthing=isthing,
            max_instances=self.max_instances,
            mask_threshold=self.mask_threshold,
        )
        semantic = SemanticAccumulator(
            shown_classes(class_probabilities, isthing, semantic_kind), output_size
        )
        for tile, probabilities in tiles:
            for accumulator in (panoptic, instances, semantic):
                accumulator.add(tile, probabilities)
        return Prediction(
            panoptic=panoptic.result(), instances=instances.result(), semantic=semantic.result()
        )


def shown_classes(class_probabilities: Tensor, isthing: Tensor, kind: SemanticKind) -> Tensor:
    """Choose the columns of (Q, K) probabilities that a semantic result is made of."""
    if kind == "classes":
        return class_probabilities
    if kind == "any_thing":
        return class_probabilities[:, isthing].sum(1, keepdim=True)
    return class_probabilities[:, :0]
