"""The initial weights of the original Mask2Former, which ODISE starts from too.

transformers' own differ: a normal distribution of standard deviation 0.02 for every convolution and
feed-forward layer, and attention whose query, key and value are initialised one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import init
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerAttention,
    Mask2FormerMaskedAttentionDecoderLayer,
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderLayer,
    Mask2FormerTransformerModule,
)


@torch.no_grad()
def initialize_as_original(
    pixel_decoder: Mask2FormerPixelDecoder, transformer_module: Mask2FormerTransformerModule
) -> None:
    """Replace the initial weights where the original's are others.

    Args:
        pixel_decoder: Initialised by transformers; deformable attention and norms stay as they are.
        transformer_module: Likewise; embeddings and the mask embeddings' MLP stay as they are.
    """
    for module in pixel_decoder.modules():
        if isinstance(module, nn.Conv2d):
            _fill_convolution(module)
        elif isinstance(module, Mask2FormerPixelDecoderEncoderLayer):
            _fill_feed_forward(module.fc1, module.fc2)
    for projection in pixel_decoder.input_projections:
        init.xavier_uniform_(projection.get_parameter("0.weight"))
    for module in transformer_module.modules():
        if isinstance(module, nn.Conv2d):
            _fill_convolution(module)
        elif isinstance(module, Mask2FormerMaskedAttentionDecoderLayer):
            _fill_feed_forward(module.fc1, module.fc2)
        elif isinstance(module, Mask2FormerAttention):
            _fill_attention(module)


def _fill_convolution(convolution: nn.Conv2d) -> None:
    """Keep the variance of the input (fvcore's ``c2_xavier_fill``)."""
    init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        init.zeros_(convolution.bias)


def _fill_feed_forward(*layers: nn.Linear) -> None:
    """Xavier weights (Glorot and Bengio 2010) and PyTorch's own biases."""
    for layer in layers:
        init.xavier_uniform_(layer.weight)
        bound = 1 / math.sqrt(layer.in_features)
        init.uniform_(layer.bias, -bound, bound)


def _fill_attention(attention: Mask2FormerAttention) -> None:
    """As ``nn.MultiheadAttention``, which takes query, key and value together for one matrix (3 C, C)."""
    inputs = (attention.q_proj, attention.k_proj, attention.v_proj)
    fan_in = attention.q_proj.in_features
    bound = math.sqrt(6 / (fan_in + 3 * attention.q_proj.out_features))
    for projection in inputs:
        _uniform(projection.weight, bound)
    init.xavier_uniform_(attention.out_proj.weight)
    for projection in (*inputs, attention.out_proj):
        init.zeros_(projection.bias)


def _uniform(weight: Tensor, bound: float) -> None:
    init.uniform_(weight, -bound, bound)
