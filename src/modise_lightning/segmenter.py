"""The whole network: backbone, captioner, mask generator and classifier, composed by injection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.backbones.windows import join_pyramids, merge_windows, split_into_windows
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
        size = self.backbone.window_size
        if size is None:
            return self._features_of(images)
        height, width = images.shape[-2:]
        if self.backbone.enlarge_small_images:
            size = min(size, height, width)
        windows, offsets = split_into_windows(images, size)
        parts = torch.split(windows, self.backbone.max_windows or len(windows))
        pyramid = join_pyramids([self._features_of(part) for part in parts])
        return merge_windows(pyramid, offsets, len(images), (height, width))

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
        masks: MaskGeneratorOutput = self.mask_generator(self.extract_features(images))
        if final_only:
            masks = masks.final()
        return SegmenterOutput(self.classifier(masks), masks.mask_embeddings, masks.mask_features)
