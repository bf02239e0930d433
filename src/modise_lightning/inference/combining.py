"""Predicts one image from the outputs of several members: models, or views of the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modise_lightning.inference.fusion import FusedQueries, FusionSettings, fuse_queries
from modise_lightning.inference.inference import Inference, SemanticKind, shown_classes
from modise_lightning.inference.semantic import SemanticAccumulator
from modise_lightning.inference.tiles import Tile, upsampled_tiles
from modise_lightning.inference.uncertainty import UncertaintyAccumulator
from modise_lightning.inference.views import PlacedLogits, View, bring_back
from modise_lightning.structures import Prediction


@dataclass(frozen=True)
class FoundQueries:
    """The queries of one member that take part in the matching.

    Attributes:
        class_probabilities: (C, K + 1).
        masks: Of the image as it is.
        weight: Of the member.
    """

    class_probabilities: Tensor
    masks: PlacedLogits
    weight: float


class CombinedImage:
    """Takes in one member after another, and keeps of each what can become a lesion.

    Semantic maps are averaged at the size of the result. Masks are matched at the size of the network's
    input, and averaged at the size of the result, tile by tile.
    """

    def __init__(
        self,
        rules: Inference,
        fusion: FusionSettings,
        *,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        total_weight: float,
        semantic: SemanticKind,
    ) -> None:
        """Start without a member.

        Args:
            rules: From queries to predictions.
            fusion: How masks are matched.
            image_size: Height and width of the network's plain input, without padding.
            output_size: Height and width of the result.
            total_weight: Of all members that will be added.
            semantic: What the semantic result shows; with ``any_thing`` the uncertainty is measured.
        """
        self._rules = rules
        self._fusion = fusion
        self._image_size = image_size
        self._output_size = output_size
        self._total_weight = total_weight
        self._kind = semantic
        self._semantic: Tensor | None = None
        self._uncertainty = UncertaintyAccumulator() if semantic == "any_thing" else None
        self._found: list[FoundQueries] = []

    @torch.no_grad()
    def add(self, class_probabilities: Tensor, seen: PlacedLogits, view: View, weight: float) -> None:
        """Take in a member.

        Args:
            class_probabilities: (Q, K + 1), the last one "no object".
            seen: (Q, h, w) mask logits of the view.
            view: How the member saw the image.
            weight: Of the member.
        """
        masks = bring_back(seen, view, self._image_size)
        self._add_semantic(class_probabilities[:, :-1], masks, weight / self._total_weight)
        kept = class_probabilities[:, :-1].max(1).values >= self._fusion.minimum_score
        self._found.append(FoundQueries(class_probabilities[kept], masks.of(kept), weight))

    def _add_semantic(self, class_probabilities: Tensor, masks: PlacedLogits, share: float) -> None:
        if self._kind == "none":
            return
        isthing = torch.tensor(self._rules.isthing, device=class_probabilities.device)
        shown = shown_classes(class_probabilities, isthing, self._kind)
        accumulator = SemanticAccumulator(shown, self._output_size)
        for tile in self._tiles(masks):
            accumulator.add(tile, tile.logits.sigmoid_())
        own = accumulator.result()
        if self._uncertainty is not None:
            self._uncertainty.add(own[0], share)
        own = own * share
        self._semantic = own if self._semantic is None else self._semantic.add_(own)

    @property
    def rules(self) -> Inference:
        """From queries to predictions."""
        return self._rules

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self._output_size

    def _tiles(self, masks: PlacedLogits) -> Iterator[Tile]:
        return upsampled_tiles(
            masks.logits,
            padded_size=masks.padded_size,
            image_size=masks.image_size,
            output_size=self._output_size,
        )

    def queries(self, mask_threshold: float) -> FusedQueries:
        """Match the queries of all members.

        Args:
            mask_threshold: A pixel with a larger probability belongs to a mask.
        """
        inside = torch.cat(
            [own.masks.at_image_size().sigmoid_().flatten(1) > mask_threshold for own in self._found]
        )
        return fuse_queries(
            torch.cat([own.class_probabilities for own in self._found]),
            inside,
            [index for index, own in enumerate(self._found) for _ in range(len(own.class_probabilities))],
            [own.weight for own in self._found],
            self._fusion.iou_threshold,
        )

    def tiles(self, mask_weights: Tensor) -> Iterator[tuple[Tile, Tensor]]:
        """Give the fused masks tile by tile, with their probabilities (F, h, w).

        Args:
            mask_weights: (F, N) of ``queries``, or some of its rows.
        """
        for together in zip(*(self._tiles(own.masks) for own in self._found), strict=True):
            masks = torch.cat([tile.logits.sigmoid_() for tile in together])
            fused = (mask_weights @ masks.flatten(1)).view(-1, *masks.shape[1:])
            yield _tile(together[0], fused), fused

    @torch.no_grad()
    def result(self) -> Prediction:
        """Give the panoptic and instance predictions of the fused queries, and the averaged maps."""
        with torch.autocast(self._found[0].class_probabilities.device.type, enabled=False):
            fused = self.queries(self._rules.mask_threshold)
            predicted = self._rules.predict_image(
                fused.class_probabilities, self.tiles(fused.mask_weights), self._output_size, "none"
            )
        return replace(
            predicted,
            semantic=predicted.semantic if self._semantic is None else self._semantic,
            uncertainty=None if self._uncertainty is None else self._uncertainty.result(),
        )


def _tile(place: Tile, probabilities: Tensor) -> Tile:
    """Bound the logits of fused masks by those of their largest probability; 1 has no bound."""
    if not len(probabilities):
        return replace(place, logits=probabilities, largest=probabilities.new_zeros(0))
    largest = torch.logit((probabilities.amax((1, 2)) + 1e-6).clamp(0, 1))
    return replace(place, logits=probabilities, largest=largest)
