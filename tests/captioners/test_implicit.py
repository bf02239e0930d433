"""The implicit captioner's formula, by hand, and which of its parts are trained."""

import math

import pytest
import torch
from torch import Tensor, nn

from modise_lightning.captioners.image_encoder import ImageEncoder
from modise_lightning.captioners.implicit import ImplicitCaptioner, load_captioner
from modise_lightning.errors import UserError
from modise_lightning.structures import ConditioningShape

SHAPE = ConditioningShape(context_length=5, context_channels=3, time_channels=4, timesteps=2)


class MeanOfChannels(nn.Module):
    """An image tower whose embedding is known: the mean of red and of blue."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.mean((2, 3))[:, [0, 2]]


@pytest.fixture
def captioner() -> ImplicitCaptioner:
    torch.manual_seed(0)
    encoder = ImageEncoder(
        tower=MeanOfChannels(),
        embedding_dim=2,
        size=8,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bicubic",
        resize_mode="squash",
        antialias=True,
    )
    return ImplicitCaptioner(image_encoder=encoder, shape=SHAPE)


def test_starts_unconditional_and_can_leave_zero(captioner: ImplicitCaptioner) -> None:
    conditioning = captioner(torch.rand(2, 3, 16, 16))
    assert conditioning.context.shape == (2, 5, 3)
    assert conditioning.time_embedding.shape == (2, 2, 4)
    assert not conditioning.context.any()
    assert not conditioning.time_embedding.any()
    (conditioning.context.sum() + conditioning.time_embedding.sum()).backward()
    gates = [parameter for name, parameter in captioner.named_parameters() if name.endswith("gate")]
    assert [gate.shape for gate in gates] == [(1, 5, 3), (1, 2, 4)]
    assert all((gate.grad != 0).all() for gate in gates)


def test_formula_by_hand(captioner: ImplicitCaptioner) -> None:
    with torch.no_grad():
        captioner.context.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]))
        captioner.context.projection.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))
        captioner.context.positional_embedding.zero_()
        captioner.context.positional_embedding[0, 4, 1] = 10
        captioner.context.gate[0, 4] = 0.3
        captioner.time_embedding.projection.weight.zero_()
        captioner.time_embedding.projection.bias.fill_(2)
        captioner.time_embedding.positional_embedding.zero_()
        captioner.time_embedding.positional_embedding[0, 1] = 1
        captioner.time_embedding.gate.fill_(-1)
    images = torch.zeros(2, 3, 8, 8)
    images[0, 0], images[0, 2], images[1, 2] = 0.25, 0.75, 1.0  # embeddings (0.25, 0.75) and (0, 1)
    conditioning = captioner(images)
    expected = torch.zeros(2, 5, 3)
    expected[0, 4] = math.tanh(0.3) * torch.tensor([0.25, 0.75 + 0.5 + 10, 0.5 - 0.75])
    expected[1, 4] = math.tanh(0.3) * torch.tensor([0.0, 1 + 0.5 + 10, -1.0])
    torch.testing.assert_close(conditioning.context, expected)
    time = math.tanh(-1) * torch.tensor([2.0, 3.0])[:, None].expand(2, 2, 4)
    torch.testing.assert_close(conditioning.time_embedding, time)


def test_only_the_projections_are_trained(captioner: ImplicitCaptioner) -> None:
    captioner.train()
    assert not any(module.training for module in captioner.image_encoder.modules())
    with torch.no_grad():
        captioner.context.gate.fill_(1)
        captioner.time_embedding.gate.fill_(1)
    conditioning = captioner(torch.rand(1, 3, 16, 16))
    (conditioning.context.sum() + conditioning.time_embedding.sum()).backward()
    with_gradient = {name for name, parameter in captioner.named_parameters() if parameter.grad is not None}
    assert with_gradient == {
        f"{part}.{name}"
        for part in ("context", "time_embedding")
        for name in ("projection.weight", "projection.bias", "positional_embedding", "gate")
    }


def test_positional_embedding_is_a_truncated_normal(captioner: ImplicitCaptioner) -> None:
    shape = ConditioningShape(context_length=77, context_channels=768, time_channels=1280, timesteps=1)
    large = ImplicitCaptioner(image_encoder=captioner.image_encoder, shape=shape)
    assert large.context.positional_embedding.std().item() == pytest.approx(0.02, rel=0.02)
    assert large.time_embedding.positional_embedding.std().item() == pytest.approx(0.02, rel=0.1)


def test_backbone_without_conditioning_is_refused() -> None:
    with pytest.raises(UserError, match="captioner=none"):
        load_captioner(
            weights="random",
            repository="x/y",
            files=[],
            seed=0,
            architecture={},
            antialias=True,
            shape=None,
        )
