"""A segmenter of one convolution, for tests of what is around the network."""

import torch
from torch import Tensor, nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import Conditioning, FeaturePyramid


class OneConvolution(Backbone):
    """A backbone of one trained and one frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.frozen = nn.Conv2d(3, 4, 1).requires_grad_(False)
        self.feature_channels = (4, 4, 4, 4)
        self.window_size = None
        self.conditioning_shape = None
        self.learning_rate_multiplier = 0.1

    def forward(self, images: Tensor, conditioning: Conditioning | None) -> FeaturePyramid:
        features = self.convolution(images)
        return FeaturePyramid(features, features, features, features)


def segmenter() -> Segmenter:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.norm = nn.LayerNorm(4)
            self.query = nn.Embedding(3, 4)
            self.level = nn.Parameter(torch.zeros(3, 4))
            self.attention = nn.MultiheadAttention(4, 2)

    return Segmenter(
        backbone=OneConvolution(), captioner=None, mask_generator=Head(), classifier=nn.Linear(4, 2)
    )
