"""Projections equal the plain "resize, then bottleneck" of ODISE."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.resnet import Bottleneck as ReferenceBottleneck

from modise_lightning.backbones.pyramid import Bottleneck, PyramidProjection, Tap


def reference_of(block: Bottleneck, in_channels: int, groups: int) -> ReferenceBottleneck:
    """Build torchvision's bottleneck (four times as many channels outside) with the same weights."""

    def norm(channels: int) -> torch.nn.GroupNorm:
        return torch.nn.GroupNorm(groups, channels)

    downsample = torch.nn.Sequential(torch.nn.Conv2d(in_channels, 16, 1, bias=False), norm(16))
    reference = ReferenceBottleneck(in_channels, 4, downsample=downsample, norm_layer=norm)
    names = {"reduce": ("conv1", "bn1"), "middle": ("conv2", "bn2"), "expand": ("conv3", "bn3")}
    names["shortcut"] = ("downsample.0", "downsample.1")
    state = {
        f"{names[part][int(index)]}.{name}": value
        for key, value in block.state_dict().items()
        for part, index, name in [key.split(".")]
    }
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("source", [(3, 5), (6, 10), (12, 20), (5, 7), (24, 40)])
def test_a_bottleneck_resizes_and_projects(source: tuple[int, int]) -> None:
    """Also where it computes before the upsampling: integer ratios, among them 1, 2 and 4."""
    torch.manual_seed(0)
    block = Bottleneck(
        in_channels=6, channels=16, bottleneck_channels=4, normalization_groups=2, identity_shortcut=True
    )
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    features = torch.randn(2, 6, *source)
    expected = reference_of(block, 6, 2)(F.interpolate(features, (12, 20)))
    torch.testing.assert_close(block(features, (12, 20)), expected, rtol=1e-4, atol=1e-4)


def test_projections_of_a_level_are_summed() -> None:
    torch.manual_seed(0)
    taps = [Tap(4, "s2"), Tap(6, "s5"), Tap(2, "s4"), Tap(8, "s3"), Tap(4, "s5")]
    projection = PyramidProjection(
        taps=taps, channels=8, bottleneck_channels=4, normalization_groups=2, identity_shortcut=True
    )
    grids = [(16, 24), (1, 2), (4, 6), (8, 12), (2, 3)]
    features: list[Tensor] = [
        torch.randn(2, tap.channels, *grid) for tap, grid in zip(taps, grids, strict=True)
    ]
    pyramid = projection(features, (64, 96))
    assert [level.shape for level in pyramid.levels] == [
        (2, 8, 16, 24),
        (2, 8, 8, 12),
        (2, 8, 4, 6),
        (2, 8, 2, 3),
    ]
    first, second = projection.projections[1], projection.projections[4]
    assert torch.equal(pyramid.s5, first(features[1], (2, 3)) + second(features[4], (2, 3)))
    assert torch.equal(pyramid.s3, projection.projections[3](features[3], (8, 12)))
