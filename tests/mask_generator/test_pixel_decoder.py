"""The pixel decoder equals transformers' with the same weights, in values and gradients."""

import pytest
import torch
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    multi_scale_deformable_attention,
)

from modise_lightning.mask_generator.deformable_attention import Levels, sample
from modise_lightning.mask_generator.pixel_decoder import PixelDecoder

CHANNELS = (6, 8, 10, 12)


def build() -> tuple[PixelDecoder, Mask2FormerPixelDecoder]:
    config = Mask2FormerConfig(
        feature_size=32,
        mask_feature_size=16,
        encoder_layers=2,
        encoder_feedforward_dim=40,
        num_attention_heads=4,
        dropout=0.0,
    )
    torch.manual_seed(0)
    theirs = Mask2FormerPixelDecoder(config, feature_channels=list(CHANNELS)).double().train()
    with torch.no_grad():
        theirs.level_embed.normal_()
    for layer in theirs.encoder.layers:
        # Offsets of several cells, so that some points fall outside the maps.
        torch.nn.init.normal_(layer.self_attn.sampling_offsets.bias, std=3.0)
    own = PixelDecoder(config, CHANNELS).double().train()
    own.load_state_dict(theirs.state_dict())
    return own, theirs


def pyramid(height: int, width: int, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            batch, channels, height // stride, width // stride, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (128, 32)])
def test_outputs_and_gradients_equal_transformers(size: tuple[int, int]) -> None:
    own, theirs = build()
    found_inputs, expected_inputs = pyramid(*size), pyramid(*size)
    found, expected = own(found_inputs), theirs(expected_inputs)
    found_outputs = (*found.multi_scale_features, found.mask_features)
    expected_outputs = (*expected.multi_scale_features, expected.mask_features)
    for one, other in zip(found_outputs, expected_outputs, strict=True):
        torch.testing.assert_close(one, other)
    for outputs in (found_outputs, expected_outputs):
        sum((output**3).sum() for output in outputs).backward()
    for one, other in zip(found_inputs, expected_inputs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    expected_gradients = {name: each.grad for name, each in theirs.named_parameters()}
    for name, parameter in own.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, expected_gradients[name], msg=name)


def test_state_dicts_load_both_ways() -> None:
    own, theirs = build()
    theirs.load_state_dict(own.state_dict())
    assert own.state_dict().keys() == theirs.state_dict().keys()


def test_trains_after_a_pass_in_inference_mode_and_after_another_size() -> None:
    own, _ = build()
    with torch.inference_mode():
        own(pyramid(64, 64))
    own(pyramid(64, 64)).mask_features.sum().backward()
    found = own(pyramid(64, 96)).mask_features
    torch.testing.assert_close(found, build()[0](pyramid(64, 96)).mask_features)


def test_core_equals_transformers_far_outside_the_maps() -> None:
    shapes = [(2, 3), (5, 4), (1, 7)]
    generator = torch.Generator().manual_seed(2)
    value = torch.randn(2, 33, 3, 4, generator=generator, dtype=torch.float64)
    locations = torch.randn(2, 9, 3, 3, 2, 2, generator=generator, dtype=torch.float64) * 2
    weights = torch.rand(2, 9, 3, 3, 2, generator=generator, dtype=torch.float64)
    levels = Levels.of(shapes, value.device, value.dtype)
    found = sample(value, levels, locations, weights)
    expected = multi_scale_deformable_attention(value, shapes, locations, weights)
    torch.testing.assert_close(found, expected)


def test_locations_are_not_rounded_to_the_type_of_the_values() -> None:
    # In bfloat16 a location in a row of 257 would be off by up to half a cell.
    generator = torch.Generator().manual_seed(4)
    value = torch.randn(1, 257, 1, 8, generator=generator).bfloat16()
    locations = torch.rand(1, 50, 1, 1, 1, 2, generator=generator)
    locations[..., 1] = 0.5
    weights = torch.ones(1, 50, 1, 1, 1).bfloat16()
    found = sample(value, Levels.of([(1, 257)], value.device, value.dtype), locations, weights)
    expected = multi_scale_deformable_attention(value.float(), [(1, 257)], locations, weights.float())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("size", [64, 512])
def test_runs_under_bfloat16_autocast(size: int) -> None:
    own, theirs = build()
    features = [each.detach().float() for each in pyramid(size, size, batch=1)]
    expected = theirs.float()(features).mask_features
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = own.float()(features).mask_features
    found.sum().backward()
    error = (found.float() - expected).norm() / expected.norm()
    assert error < 0.05
