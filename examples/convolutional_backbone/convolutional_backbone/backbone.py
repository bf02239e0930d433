"""Four convolutions with strides instead of a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.errors import UserError
from modise_lightning.structures import Conditioning, FeaturePyramid


class ConvolutionalBackbone(Backbone):
    """A convolution for each level of the pyramid; takes images of any size and no conditioning."""

    def __init__(self, *, channels: Sequence[int]) -> None:
        """Build the convolutions.

        Args:
            channels: Of the levels at strides 4, 8, 16 and 32.

        Raises:
            UserError: There are not four levels.
        """
        super().__init__()
        if len(channels) != 4:
            raise UserError(f"backbone.channels: {len(channels)} numbers; four are needed, one a level.")
        s2, s3, s4, s5 = channels
        self.feature_channels = (s2, s3, s4, s5)
        self.window_size = None
        self.conditioning_shape = None
        self.learning_rate_multiplier = 1.0
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, stride, stride), nn.ReLU())
            for before, after, stride in zip((3, s2, s3, s4), channels, (4, 2, 2, 2), strict=True)
        )

    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        """Compute features.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; H and W multiples of 32.
            conditioning: Has to be None.
        """
        if conditioning is not None:
            raise ValueError("A convolutional backbone takes no conditioning.")
        features = []
        for level in self.levels:
            images = level(images)
            features.append(images)
        return FeaturePyramid(*features)
