"""The whole network: backbone, captioner, mask generator and classifier, composed by injection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.backbones.windows import (
    join_pyramids,
    merge_windows,
    split_into_windows,
    split_pyramid,
)
from modise_lightning.structures import FeaturePyramid, MaskGeneratorOutput, SegmenterOutput


class Segmenter(nn.Module):
    """Finds masks in images and says which class each one shows (M-ODISE, or a Mask2Former baseline)."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        captioner: nn.Module | None,
        mask_generator: nn.Module,
        classifier: nn.Module,
    ) -> None:
        """Compose the parts.

        Args:
            backbone: Images and conditioning to a feature pyramid.
            captioner: Images to conditioning; None runs the backbone unconditionally.
            mask_generator: Feature pyramid to query states and masks.
            classifier: Query states and masks to class logits.
        """
        super().__init__()
        self.backbone = backbone
        self.captioner = captioner
        self.mask_generator = mask_generator
        self.classifier = classifier

    def extract_features(self, images: Tensor) -> FeaturePyramid:
        """Compute the feature pyramid, in windows where the backbone has a fixed input size.

        The captioner sees each window, as in ODISE.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of 32.
        """
        return self._extract_features([images])[0]

    def _extract_features(self, groups: Sequence[Tensor]) -> list[FeaturePyramid]:
        """Compute the pyramids of groups of images; windows of the same size go through together."""
        size = self.backbone.window_size
        if size is None:
            return [self._features_of(images) for images in groups]
        cut = []
        for images in groups:
            own = min(size, *images.shape[-2:]) if self.backbone.enlarge_small_images else size
            cut.append(split_into_windows(images, own))
        pyramids: dict[int, FeaturePyramid] = {}
        for own in dict.fromkeys(windows.shape[-1] for windows, _ in cut):
            alike = [number for number, (windows, _) in enumerate(cut) if windows.shape[-1] == own]
            together = [cut[number][0] for number in alike]
            windows = together[0] if len(together) == 1 else torch.cat(together)
            parts = torch.split(windows, self.backbone.max_windows or len(windows))
            pyramid = join_pyramids([self._features_of(part) for part in parts])
            shares = split_pyramid(pyramid, [len(part) for part in together])
            pyramids.update(zip(alike, shares, strict=True))
        return [
            merge_windows(pyramids[number], cut[number][1], len(images), (images.shape[-2], images.shape[-1]))
            for number, images in enumerate(groups)
        ]

    def _features_of(self, windows: Tensor) -> FeaturePyramid:
        conditioning = None if self.captioner is None else self.captioner(self.backbone.enlarge(windows))
        pyramid: FeaturePyramid = self.backbone(windows, conditioning)
        return pyramid

    def forward(self, images: Tensor, final_only: bool = False) -> SegmenterOutput:
        """Predict masks and classes.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of 32.
            final_only: Classify only the last of the L predictions, the result; training needs all.
        """
        return self._segment(self.extract_features(images), final_only)

    def predict_groups(self, groups: Sequence[Tensor]) -> list[SegmenterOutput]:
        """Predict groups of images of different sizes, whose windows share the backbone's batches.

        Args:
            groups: (B, 3, H, W) in [0, 1] each; H and W multiples of 32.

        Returns:
            The last of the predictions of each group.
        """
        return [self._segment(pyramid, final_only=True) for pyramid in self._extract_features(groups)]

    def _segment(self, features: FeaturePyramid, final_only: bool) -> SegmenterOutput:
        masks: MaskGeneratorOutput = self.mask_generator(features)
        if final_only:
            masks = masks.final()
        return SegmenterOutput(self.classifier(masks), masks.mask_embeddings, masks.mask_features)
