"""Initial weights have the spread that the original Mask2Former's code gives them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modise_lightning.mask_generator.mask2former import Mask2FormerMaskGenerator
from modise_lightning.structures import FeaturePyramid

C, WIDE, CHANNELS = 256, 512, 384


def build(initialization: str, full_precision: bool = False) -> Mask2FormerMaskGenerator:
    torch.manual_seed(0)
    return Mask2FormerMaskGenerator(
        feature_channels=(CHANNELS,) * 4,
        hidden_channels=C,
        num_queries=100,
        num_heads=8,
        pixel_decoder_layers=1,
        pixel_decoder_feedforward=WIDE,
        decoder_layers=1,
        decoder_feedforward=WIDE,
        pre_norm=False,
        dropout=0.0,
        initialization=initialization,  # type: ignore[arg-type]
        full_precision_pixel_decoder=full_precision,
        weights="random",
        repository="",
        files=[],
    )


def xavier(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2 / (fan_in + fan_out))


PIXEL, QUERY = "pixel_decoder.", "transformer_module.decoder.layers.0."
# Standard deviations: Xavier's sqrt(2 / (fan in + fan out)); detectron2's c2_xavier_fill, sqrt(1 / fan in); a
# bias of a linear layer is uniform up to sqrt(1 / fan in). nn.MultiheadAttention takes query, key and
# value as one matrix (3 C, C).
ORIGINAL = {
    f"{PIXEL}mask_projection.weight": 0.0625,
    f"{PIXEL}adapter_1.0.weight": math.sqrt(1 / CHANNELS),
    f"{PIXEL}layer_1.0.weight": math.sqrt(1 / (9 * C)),
    f"{PIXEL}input_projections.0.0.weight": xavier(CHANNELS, C),
    f"{PIXEL}level_embed": 1.0,
    f"{PIXEL}encoder.layers.0.self_attn.value_proj.weight": xavier(C, C),
    f"{PIXEL}encoder.layers.0.self_attn.output_proj.weight": xavier(C, C),
    f"{PIXEL}encoder.layers.0.fc1.weight": xavier(C, WIDE),
    f"{PIXEL}encoder.layers.0.fc2.weight": xavier(C, WIDE),
    f"{PIXEL}encoder.layers.0.fc1.bias": math.sqrt(1 / C / 3),
    f"{PIXEL}encoder.layers.0.fc2.bias": math.sqrt(1 / WIDE / 3),
    f"{QUERY}cross_attn.in_proj_weight": xavier(C, 3 * C),
    f"{QUERY}cross_attn.out_proj.weight": xavier(C, C),
    f"{QUERY}self_attn.q_proj.weight": xavier(C, 3 * C),
    f"{QUERY}self_attn.k_proj.weight": xavier(C, 3 * C),
    f"{QUERY}self_attn.v_proj.weight": xavier(C, 3 * C),
    f"{QUERY}self_attn.out_proj.weight": xavier(C, C),
    f"{QUERY}fc1.weight": xavier(C, WIDE),
    f"{QUERY}fc2.weight": xavier(C, WIDE),
    f"{QUERY}fc1.bias": math.sqrt(1 / C / 3),
    f"{QUERY}fc2.bias": math.sqrt(1 / WIDE / 3),
    "transformer_module.queries_features.weight": 1.0,
    "transformer_module.queries_embedder.weight": 1.0,
    "transformer_module.level_embed.weight": 1.0,
    "transformer_module.decoder.mask_predictor.mask_embedder.0.0.weight": math.sqrt(1 / C / 3),
}
ZERO = [
    f"{PIXEL}mask_projection.bias",
    f"{PIXEL}input_projections.0.0.bias",
    f"{PIXEL}encoder.layers.0.self_attn.value_proj.bias",
    f"{PIXEL}encoder.layers.0.self_attn.sampling_offsets.weight",
    f"{QUERY}cross_attn.in_proj_bias",
    f"{QUERY}cross_attn.out_proj.bias",
    f"{QUERY}self_attn.q_proj.bias",
    f"{QUERY}self_attn.out_proj.bias",
]


def test_the_originals_spread() -> None:
    state = build("original").state_dict()
    assert {name: float(state[name].std()) for name in ORIGINAL} == pytest.approx(ORIGINAL, rel=0.08)
    assert not any(state[name].any() for name in ZERO)


def test_transformers_own_is_another() -> None:
    state = build("transformers").state_dict()
    assert float(state[f"{PIXEL}mask_projection.weight"].std()) == pytest.approx(0.02, rel=0.05)
    query = f"{QUERY}self_attn.q_proj.weight"
    assert float(state[query].std()) == pytest.approx(math.sqrt(2) * ORIGINAL[query], rel=0.05)


@torch.no_grad()
@pytest.mark.parametrize("full_precision", [False, True])
def test_the_pixel_decoder_can_keep_full_precision(full_precision: bool) -> None:
    levels = [torch.randn(1, CHANNELS, 64 // stride, 64 // stride) for stride in (4, 8, 16, 32)]
    model = build("original", full_precision).eval()

    def mask_features() -> Tensor:
        return model(FeaturePyramid(*levels)).mask_features

    exact = mask_features()
    with torch.autocast("cpu", torch.bfloat16):
        cast = mask_features()
    assert torch.equal(cast, exact) == full_precision
    assert (cast.dtype == torch.float32) == full_precision
