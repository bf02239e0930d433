"""Several models, and several views of each image, as one model that Lightning predicts and tests with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import lightning
import torch
from torch import Tensor, nn

from modise_lightning.images_to_predict import ImagesToPredict
from modise_lightning.inference.combining import CombinedImage
from modise_lightning.inference.fusion import FusionSettings
from modise_lightning.inference.inference import SemanticKind
from modise_lightning.inference.placement import place_prediction
from modise_lightning.inference.views import PlacedLogits, View, make_view
from modise_lightning.losses.annotated_classes import among_annotated
from modise_lightning.structures import Batch, PanopticSegmentation, Prediction, Region
from modise_lightning.training.lightning_module import SegmentationModule


class EnsembleModule(lightning.LightningModule):
    """Predicts with all members and fuses what they say of each image."""

    def __init__(
        self,
        *,
        members: Sequence[SegmentationModule],
        views: Sequence[View],
        fusion: FusionSettings,
        size_multiple: int,
    ) -> None:
        """Compose the members.

        Args:
            members: Trained models of the same classes, preprocessing and rules of inference.
            views: Of each image, which each member sees.
            fusion: How their masks are fused; has a weight for each member, or none.
            size_multiple: What views are padded to a multiple of, in pixels.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.views = list(views)
        self.fusion = fusion
        self.size_multiple = size_multiple
        self.weights = [1.0] * len(members) if fusion.weights is None else list(fusion.weights)
        self.predicted_semantic: SemanticKind = "classes"

    def test_step(self, batch: Batch, batch_index: int) -> dict[str, list[Prediction]]:
        """Predict the images of a batch at their stored size."""
        return {"predictions": self.predict_batch(batch)}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Predict the images of a batch at their stored size."""
        regions = batch.regions or [Region(0, 0, record.height, record.width) for record in batch.records]
        combined = self.combine(
            [batch.images], [list(range(len(regions)))], batch.image_sizes, regions, "classes", batch.targets
        )
        return [
            place_prediction(image.result(), region, record.height, record.width)
            for image, region, record in zip(combined, regions, batch.records, strict=True)
        ]

    def predict_step(self, batch: ImagesToPredict, batch_index: int) -> list[Prediction]:
        """Predict images without ground truth, each at the size of its whole picture."""
        colours = [group.expand(-1, 3, -1, -1) for group in batch.groups]
        combined = self.combine(
            colours, batch.members, batch.image_sizes, batch.regions, self.predicted_semantic
        )
        sizes = [(picture.shape[0], picture.shape[1]) for picture in batch.pictures]
        return [
            place_prediction(image.result(), region, *size)
            for image, region, size in zip(combined, batch.regions, sizes, strict=True)
        ]

    def combine(
        self,
        groups: Sequence[Tensor],
        positions: Sequence[Sequence[int]],
        image_sizes: Sequence[tuple[int, int]],
        regions: Sequence[Region],
        semantic: SemanticKind,
        targets: Sequence[PanopticSegmentation] | None = None,
    ) -> list[CombinedImage]:
        """Let all members look at all views of the images.

        Args:
            groups: (B, 3, H, W) in [0, 1] each.
            positions: For each group, which of the images below are in it.
            image_sizes: Height and width of each image inside the padding.
            regions: The part of the whole image that each shows.
            semantic: What the semantic results show.
            targets: Truth of the images, which are asked only for the classes that it annotates.

        Returns:
            Each image with what all members found.
        """
        combined = [
            CombinedImage(
                self._first.inference,
                self.fusion,
                image_size=size,
                output_size=(region.height, region.width),
                total_weight=sum(self.weights) * len(self.views),
                semantic=semantic,
            )
            for size, region in zip(image_sizes, regions, strict=True)
        ]
        # Member after member of the same view: what their frozen parts share is computed once.
        for view in self.views:
            made = [
                make_view(group, [image_sizes[index] for index in own], view, self.size_multiple)
                for group, own in zip(groups, positions, strict=True)
            ]
            for member, weight in zip(self.members, self.weights, strict=True):
                self._look(member, weight, view, made, positions, combined, targets)
        return combined

    @property
    def _first(self) -> SegmentationModule:
        first = self.members[0]
        assert isinstance(first, SegmentationModule)
        return first

    @staticmethod
    @torch.no_grad()
    def _look(
        member: nn.Module,
        weight: float,
        view: View,
        made: Sequence[tuple[Tensor, list[tuple[int, int]]]],
        positions: Sequence[Sequence[int]],
        combined: Sequence[CombinedImage],
        targets: Sequence[PanopticSegmentation] | None,
    ) -> None:
        assert isinstance(member, SegmentationModule)
        images = [group for group, _ in made]
        outputs = member.segmenter.predict_groups(images) if images else []
        for (group, sizes), own, output in zip(made, positions, outputs, strict=True):
            if targets is not None:
                of_group = [targets[index] for index in own]
                output = replace(output, class_logits=among_annotated(output.class_logits, of_group))
            class_probabilities, mask_logits = member.inference.classify(output, group)
            padded_size = (group.shape[-2], group.shape[-1])
            for index, size, classes, masks in zip(own, sizes, class_probabilities, mask_logits, strict=True):
                with torch.autocast(masks.device.type, enabled=False):
                    combined[index].add(classes, PlacedLogits(masks, padded_size, size), view, weight)
