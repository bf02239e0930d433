"""Narrow random models as their authors publish them: files to import, and what they compute."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

# The same sizes by this library's settings.
NARROW_MASK2FORMER = [
    "backbone=swin_tiny",
    "text=learned",
    "captioner=none",
    "protocol=mask2former",
    "backbone.architecture.embed_dim=16",
    "backbone.architecture.window_size=4",
    "mask_generator.hidden_channels=32",
    "mask_generator.num_queries=7",
    "mask_generator.pixel_decoder_feedforward=48",
    "mask_generator.decoder_feedforward=40",
]
NUM_CLASSES = 3
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
# Of layers with weight and bias, as transformers' conversion of the original lists them.
_SWIN = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_PIXEL = {
    "input_projections.": "input_proj.",
    "level_embed": "transformer.level_embed",
    "encoder.": "transformer.encoder.",
    ".self_attn_layer_norm.": ".norm1.",
    ".final_layer_norm.": ".norm2.",
    ".fc": ".linear",
    "mask_projection": "mask_features",
    "adapter_1.0": "adapter_1",
    "adapter_1.1": "adapter_1.norm",
    "layer_1.0": "layer_1",
    "layer_1.1": "layer_1.norm",
}
_DECODER = {
    "self_attn_layer_norm": "transformer_self_attention_layers.{}.norm",
    "cross_attn_layer_norm": "transformer_cross_attention_layers.{}.norm",
    "final_layer_norm": "transformer_ffn_layers.{}.norm",
    "self_attn": "transformer_self_attention_layers.{}.self_attn",
    "cross_attn": "transformer_cross_attention_layers.{}.multihead_attn",
    "fc1": "transformer_ffn_layers.{}.linear1",
    "fc2": "transformer_ffn_layers.{}.linear2",
}
_QUERIES = {
    "queries_embedder": "query_embed",
    "queries_features": "query_feat",
    "level_embed": "level_embed",
    "decoder.layernorm": "decoder_norm",
}


def transformers_mask2former(seed: int = 0, num_classes: int = NUM_CLASSES) -> Any:
    """Build a Mask2Former of transformers, with no weight as its initialisation leaves it."""
    backbone = SwinConfig(
        image_size=256,
        embed_dim=16,
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=48,
        encoder_layers=1,
        decoder_layers=4,
        num_attention_heads=4,
        dim_feedforward=40,
        num_queries=7,
        num_labels=num_classes,
    )
    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        # Otherwise what is a one or a zero everywhere could be exchanged.
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def transformers_logits(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Give class logits (B, Q, K + 1) and mask logits (B, Q, H / 4, W / 4) of images in [0, 1]."""
    mean, std = (value.view(3, 1, 1) for value in IMAGENET)
    output = model((images - mean) / std)
    return output.class_queries_logits, output.masks_queries_logits


def detectron2_arrays(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Give the weights of a ``save_pretrained`` folder by the names of Mask2Former's authors."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    arrays: dict[str, Any] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        found = _detectron2_name(name)
        if found is None:
            continue
        original, letter = found
        if letter:
            parts.setdefault(original, {})[letter] = tensor
        else:
            arrays[original] = tensor.numpy()
    for original, letters in parts.items():
        arrays[original] = torch.cat([letters[letter] for letter in "qkv"]).numpy()
    # What the authors' code stores beside the weights.
    arrays["backbone.layers.0.blocks.0.attn.relative_position_index"] = np.zeros((16, 16), np.int64)
    return arrays


def _detectron2_name(name: str) -> tuple[str, str] | None:
    """Give a name, and which of the joined projections it is."""
    if name.startswith("class_predictor."):
        return name.replace("class_predictor.", "sem_seg_head.predictor.class_embed."), ""
    if name == "criterion.empty_weight":
        return name, ""
    swin, pixel = "model.pixel_level_module.encoder.", "model.pixel_level_module.decoder."
    if name.startswith(f"{swin}swin.layernorm."):
        return None
    if name.startswith(swin):
        return _swin_name(name.removeprefix(swin))
    if name.startswith(pixel):
        name = name.removeprefix(pixel)
        for theirs, original in _PIXEL.items():
            name = name.replace(theirs, original)
        return f"sem_seg_head.pixel_decoder.{name}", ""
    return _decoder_name(name.removeprefix("model.transformer_module."))


def _swin_name(name: str) -> tuple[str, str]:
    if match := re.fullmatch(r"hidden_states_norms\.stage(\d)\.(\w+)", name):
        return f"backbone.norm{int(match[1]) - 1}.{match[2]}", ""
    if name.startswith("embeddings."):
        name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        return f"backbone.{name.replace('embeddings.norm', 'patch_embed.norm')}", ""
    name = name.removeprefix("encoder.")
    if match := re.search(r"attention\.self\.(query|key|value)\.", name):
        return f"backbone.{name.replace(match[0], 'attn.qkv.')}", match[1][0]
    for theirs, original in _SWIN.items():
        name = name.replace(theirs, original)
    return f"backbone.{name}", ""


def _decoder_name(name: str) -> tuple[str, str]:
    prefix = "sem_seg_head.predictor."
    if match := re.fullmatch(r"decoder\.mask_predictor\.mask_embedder\.(\d)\.0\.(\w+)", name):
        return f"{prefix}mask_embed.layers.{match[1]}.{match[2]}", ""
    if match := re.fullmatch(r"decoder\.layers\.(\d)\.self_attn\.([qkv])_proj\.(\w+)", name):
        layer = f"{prefix}transformer_self_attention_layers.{match[1]}.self_attn"
        return f"{layer}.in_proj_{match[3]}", match[2]
    if match := re.fullmatch(r"decoder\.layers\.(\d)\.(\w+)\.(.+)", name):
        return f"{prefix}{_DECODER[match[2]].format(match[1])}.{match[3]}", ""
    for theirs, original in _QUERIES.items():
        name = name.replace(theirs, original)
    return f"{prefix}{name}", ""


def write_detectron2(path: Path, arrays: dict[str, Any], protocol: int = 4) -> None:
    """Write them as Mask2Former's authors publish them."""
    content = {"model": arrays, "__author__": "third_party", "matching_heuristics": False}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
