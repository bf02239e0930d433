"""ODISE's names of trained weights, and this library's."""

from __future__ import annotations

import re

from torch import Tensor

# ODISE lists its taps otherwise: VAE encoder, UNet, VAE decoder.
_PROJECTIONS = (0, 1, 4, 5, 6, 7, 2, 3)
_CAPTIONER = "backbone.feature_extractor."
_PIXEL = "sem_seg_head.pixel_decoder."
_QUERY = "sem_seg_head.predictor."
_CLASS = f"{_QUERY}post_mask_embed."
_RULES = [
    (rf"{_CAPTIONER}clip_project\.linear\.", "captioner.context.projection."),
    (rf"{_CAPTIONER}clip_project\.positional_embedding", "captioner.context.positional_embedding"),
    (rf"{_CAPTIONER}alpha_cond$", "captioner.context.gate"),
    (rf"{_CAPTIONER}time_embed_project\.linear\.", "captioner.time_embedding.projection."),
    (
        rf"{_CAPTIONER}time_embed_project\.positional_embedding",
        "captioner.time_embedding.positional_embedding",
    ),
    (rf"{_CAPTIONER}alpha_cond_time_embed", "captioner.time_embedding.gate"),
    (rf"{_PIXEL}input_proj\.", "mask_generator.pixel_decoder.input_projections."),
    (rf"{_PIXEL}transformer\.", "mask_generator.pixel_decoder."),
    (rf"{_PIXEL}mask_features\.", "mask_generator.pixel_decoder.mask_projection."),
    (rf"{_PIXEL}(adapter|layer)_1\.norm\.", r"mask_generator.pixel_decoder.\1_1.1."),
    (rf"{_PIXEL}(adapter|layer)_1\.", r"mask_generator.pixel_decoder.\1_1.0."),
    (rf"{_CLASS}pool_proj\.", "classifier.pooled_projection."),
    (rf"{_CLASS}mask_embed\.0\.", "classifier.mask_embedding.0."),
    (rf"{_CLASS}mask_embed\.1\.layers\.", "classifier.mask_embedding.1."),
    (rf"{_CLASS}logit_scale", "classifier.log_scale"),
    (r"category_head\.text_proj\.", "classifier.text_projection."),
    (r"category_head\.null_embed", "classifier.null_embedding"),
    (
        rf"{_QUERY}transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"mask_generator.transformer_module.decoder.layers.\1.cross_attn.",
    ),
    (
        rf"{_QUERY}transformer_(cross|self)_attention_layers\.(\d+)\.norm\.",
        r"mask_generator.transformer_module.decoder.layers.\2.\1_attn_layer_norm.",
    ),
    (
        rf"{_QUERY}transformer_self_attention_layers\.(\d+)\.",
        r"mask_generator.transformer_module.decoder.layers.\1.",
    ),
    (
        rf"{_QUERY}transformer_ffn_layers\.(\d+)\.norm\.",
        r"mask_generator.transformer_module.decoder.layers.\1.final_layer_norm.",
    ),
    (
        rf"{_QUERY}transformer_ffn_layers\.(\d+)\.linear",
        r"mask_generator.transformer_module.decoder.layers.\1.fc",
    ),
    (rf"{_QUERY}decoder_norm\.", "mask_generator.transformer_module.decoder.layernorm."),
    (rf"{_QUERY}query_feat\.", "mask_generator.transformer_module.queries_features."),
    (rf"{_QUERY}query_embed\.", "mask_generator.transformer_module.queries_embedder."),
    (rf"{_QUERY}level_embed\.", "mask_generator.transformer_module.level_embed."),
    (
        rf"{_QUERY}mask_embed\.layers\.(\d)\.",
        r"mask_generator.transformer_module.decoder.mask_predictor.mask_embedder.\1.0.",
    ),
]
_PIXEL_LAYER = {
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
_BOTTLENECK = {"conv1": "reduce", "conv2": "middle", "conv3": "expand", "shortcut": "shortcut"}
_MLP_STEP = 3  # torchvision's MLP counts linear layer, activation and dropout
NOT_TRAINED = ("criterion.empty_weight",)


def own_name(name: str) -> str:
    """Translate a name; attention's ``in_proj_*`` keeps its own ending."""
    if match := re.fullmatch(r"backbone\.feature_projections\.(\d)\.0\.(\w+)\.(?:(norm)\.)?(\w+)", name):
        tap, part, norm, ending = match.groups()
        place = _PROJECTIONS[int(tap)]
        return f"backbone.projection.projections.{place}.{_BOTTLENECK[part]}.{int(norm is not None)}.{ending}"
    for pattern, replacement in _RULES:
        if re.match(pattern, name):
            name = re.sub(pattern, replacement, name)
            break
    else:
        raise KeyError(name)
    if name.startswith("mask_generator.pixel_decoder.encoder."):
        for theirs, ours in _PIXEL_LAYER.items():
            name = name.replace(f".{theirs}.", f".{ours}.")
    if match := re.fullmatch(r"(classifier\.mask_embedding\.1)\.(\d)\.(\w+)", name):
        return f"{match[1]}.{_MLP_STEP * int(match[2])}.{match[3]}"
    return name


def own_tensors(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Translate a weight, or its gradient, which may be several here."""
    own = own_name(name)
    if ".self_attn.in_proj_" in own:
        return {
            own.replace("in_proj_", f"{letter}_proj."): part
            for letter, part in zip("qkv", tensor.chunk(3), strict=True)
        }
    if own == "captioner.time_embedding.gate":
        tensor = tensor[None, None]
    if own == "classifier.null_embedding":
        tensor = tensor[0]
    return {own: tensor}


def own_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate all trained weights."""
    return {
        own: value
        for name, tensor in state.items()
        if name not in NOT_TRAINED
        for own, value in own_tensors(name, tensor).items()
    }
