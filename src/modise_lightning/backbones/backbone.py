"""What every backbone has in common: images and an optional conditioning in, a feature pyramid out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from modise_lightning.structures import Conditioning, ConditioningShape, FeaturePyramid


class Backbone(nn.Module, ABC):
    """Turns images into features at strides 4, 8, 16 and 32.

    Attributes:
        feature_channels: Channels of s2, s3, s4 and s5.
        window_size: Height and width of its fixed square input in pixels, a multiple of 32; None takes images
            whose height and width are any multiples of 32.
        enlarge_small_images: Whether windows of images that are smaller than a window are as large as the
            shorter side of the image, and get enlarged.
        max_windows: Windows that it takes at a time; None for any number.
        conditioning_shape: What it expects of a captioner; None if it takes no conditioning.
        learning_rate_multiplier: Share of the learning rate that all its trained parameters get.
    """

    feature_channels: tuple[int, int, int, int]
    window_size: int | None
    enlarge_small_images: bool = False
    max_windows: int | None = None
    conditioning_shape: ConditioningShape | None
    learning_rate_multiplier: float

    def enlarge(self, windows: Tensor) -> Tensor:
        """Give windows (n, 3, h, w) as large as the network sees them; the same where it takes any size."""
        return windows

    @abstractmethod
    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        """Compute features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; H and W equal to ``window_size``, or multiples of 32.
            conditioning: What an implicit captioner says of the images; None for none.
        """
