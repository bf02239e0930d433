"""Projects feature maps tapped from a network onto the levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modise_lightning.structures import FeaturePyramid

Level = Literal["s2", "s3", "s4", "s5"]
LEVEL_STRIDES: dict[Level, int] = {"s2": 4, "s3": 8, "s4": 16, "s5": 32}


@dataclass(frozen=True)
class Tap:
    """A feature map that is taken out of a network.

    Attributes:
        channels: Its channels.
        level: The pyramid level that it goes to.
    """

    channels: int
    level: Level


class PyramidProjection(nn.Module):
    """Projects each tap with its own bottleneck and sums the projections of a level, as in ODISE."""

    def __init__(
        self,
        *,
        taps: Sequence[Tap],
        channels: int,
        bottleneck_channels: int,
        normalization_groups: int,
        identity_shortcut: bool,
    ) -> None:
        """Build a bottleneck for each tap.

        Args:
            taps: What the feature maps are; every level has to occur.
            channels: Of each level.
            bottleneck_channels: Inside the bottlenecks.
            normalization_groups: Groups of each GroupNorm; divides both channel numbers.
            identity_shortcut: Whether a tap of as many channels as a level goes past its bottleneck as it is.
        """
        super().__init__()
        self.taps = tuple(taps)
        self.projections = nn.ModuleList(
            Bottleneck(
                in_channels=tap.channels,
                channels=channels,
                bottleneck_channels=bottleneck_channels,
                normalization_groups=normalization_groups,
                identity_shortcut=identity_shortcut,
            )
            for tap in self.taps
        )

    def forward(self, features: Sequence[Tensor], image_size: tuple[int, int]) -> FeaturePyramid:
        """Project feature maps.

        Args:
            features: One map (B, C, h, w) for each tap.
            image_size: Height and width of the images in pixels, multiples of 32.
        """
        levels: dict[Level, Tensor] = {}
        height, width = image_size
        for tap, projection, feature in zip(self.taps, self.projections, features, strict=True):
            stride = LEVEL_STRIDES[tap.level]
            projected = projection(feature, (height // stride, width // stride))
            levels[tap.level] = levels[tap.level] + projected if tap.level in levels else projected
        return FeaturePyramid(**levels)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with GroupNorm, ReLU and a shortcut (He et al. 2016)."""

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        bottleneck_channels: int,
        normalization_groups: int,
        identity_shortcut: bool,
    ) -> None:
        """Build the block.

        Args:
            in_channels: Of its input.
            channels: Of its output.
            bottleneck_channels: In between.
            normalization_groups: Groups of each GroupNorm.
            identity_shortcut: Where the channels of input and output are equal, the shortcut is the identity,
                as in He et al. 2016 and detectron2; else it is always a 1x1 convolution with GroupNorm.
        """
        super().__init__()
        groups = normalization_groups
        self.reduce = _normalized_convolution(in_channels, bottleneck_channels, 1, groups)
        self.middle = _normalized_convolution(bottleneck_channels, bottleneck_channels, 3, groups)
        self.expand = _normalized_convolution(bottleneck_channels, channels, 1, groups)
        self.shortcut: nn.Module = nn.Identity()
        if not identity_shortcut or in_channels != channels:
            self.shortcut = _normalized_convolution(in_channels, channels, 1, groups)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize (B, in_channels, h, w) to ``size`` (nearest) and project to (B, channels, *size)."""
        height, width = features.shape[-2:]
        if size[0] % height or size[1] % width:
            features = F.interpolate(features, size)
        # Repeating each pixel equally often changes neither a 1x1 convolution nor the statistics of a
        # GroupNorm, so what has only these comes before the upsampling, where there are fewer pixels.
        hidden = F.relu(self.reduce(features))
        shortcut = self.shortcut(features)
        if features.shape[-2:] != torch.Size(size):
            hidden, shortcut = F.interpolate(hidden, size), F.interpolate(shortcut, size)
        hidden = F.relu(self.middle(hidden))
        return F.relu(self.expand(hidden) + shortcut)


def _normalized_convolution(in_channels: int, channels: int, kernel_size: int, groups: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(
        convolution.weight, mode="fan_out", nonlinearity="relu"
    )  # detectron2's c2_msra_fill
    return nn.Sequential(convolution, nn.GroupNorm(groups, channels))
