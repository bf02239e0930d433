"""Names of Mask2Former's weights: those of its authors' detectron2 code, and of transformers."""

from __future__ import annotations

from modise_lightning.pretrained.name_rules import NameRules, Replacement

# MaskFormerHead calls the pixel decoder so since its second version.
_PIXEL = r"sem_seg_head\.(?:pixel_decoder\.)?"
_OWN_PIXEL = "mask_generator.pixel_decoder."
_QUERY = r"sem_seg_head\.predictor\."
_OWN_QUERY = "mask_generator.transformer_module."
_PIXEL_LAYER = rf"{_PIXEL}transformer\.encoder\.layers\.(\d+)\."
_OWN_PIXEL_LAYER = rf"{_OWN_PIXEL}encoder.layers.\1."
_OWN_LAYER = rf"{_OWN_QUERY}decoder.layers."

# Of the decoders, which ODISE took over (msdeformattn.py, mask2former_transformer_decoder.py).
DECODER_RULES: tuple[tuple[str, Replacement], ...] = (
    (rf"{_PIXEL}input_proj\.", f"{_OWN_PIXEL}input_projections."),
    (rf"{_PIXEL_LAYER}norm1\.", f"{_OWN_PIXEL_LAYER}self_attn_layer_norm."),
    (rf"{_PIXEL_LAYER}norm2\.", f"{_OWN_PIXEL_LAYER}final_layer_norm."),
    (rf"{_PIXEL_LAYER}linear([12])\.", rf"{_OWN_PIXEL_LAYER}fc\2."),
    (rf"{_PIXEL}transformer\.", _OWN_PIXEL),
    (rf"{_PIXEL}mask_features\.", f"{_OWN_PIXEL}mask_projection."),
    (rf"{_PIXEL}(adapter|layer)_1\.norm\.", rf"{_OWN_PIXEL}\1_1.1."),
    (rf"{_PIXEL}(adapter|layer)_1\.", rf"{_OWN_PIXEL}\1_1.0."),
    (rf"{_QUERY}transformer_cross_attention_layers\.(\d+)\.multihead_attn\.", rf"{_OWN_LAYER}\1.cross_attn."),
    (
        rf"{_QUERY}transformer_(cross|self)_attention_layers\.(\d+)\.norm\.",
        rf"{_OWN_LAYER}\2.\1_attn_layer_norm.",
    ),
    (
        rf"{_QUERY}transformer_self_attention_layers\.(\d+)\.self_attn\.in_proj_",
        rf"{_OWN_LAYER}\1.self_attn.{{qkv}}_proj.",
    ),
    (rf"{_QUERY}transformer_self_attention_layers\.(\d+)\.", rf"{_OWN_LAYER}\1."),
    (rf"{_QUERY}transformer_ffn_layers\.(\d+)\.norm\.", rf"{_OWN_LAYER}\1.final_layer_norm."),
    (rf"{_QUERY}transformer_ffn_layers\.(\d+)\.linear", rf"{_OWN_LAYER}\1.fc"),
    (rf"{_QUERY}decoder_norm\.", f"{_OWN_QUERY}decoder.layernorm."),
    # The first version called the learned queries static.
    (rf"{_QUERY}(?:query_feat|static_query)\.", f"{_OWN_QUERY}queries_features."),
    (rf"{_QUERY}query_embed\.", f"{_OWN_QUERY}queries_embedder."),
    (rf"{_QUERY}level_embed\.", f"{_OWN_QUERY}level_embed."),
    (rf"{_QUERY}mask_embed\.layers\.(\d)\.", rf"{_OWN_QUERY}decoder.mask_predictor.mask_embedder.\1.0."),
)

_CLASS = "classifier.linear."
_OWN_SWIN = "backbone.swin.swin."
_OWN_BLOCK = rf"{_OWN_SWIN}encoder.layers.\1."
_BLOCK = r"backbone\.layers\.(\d+\.blocks\.\d+)\."

# The Swin is swin.py of Mask2Former.
DETECTRON2 = NameRules(
    rules=(
        # Before the pixel decoder, whose name may be left out.
        (rf"{_QUERY}class_embed\.", _CLASS),
        *DECODER_RULES,
        (r"backbone\.patch_embed\.proj\.", f"{_OWN_SWIN}embeddings.patch_embeddings.projection."),
        (r"backbone\.patch_embed\.norm\.", f"{_OWN_SWIN}embeddings.norm."),
        (rf"{_BLOCK}norm1\.", f"{_OWN_BLOCK}layernorm_before."),
        (rf"{_BLOCK}norm2\.", f"{_OWN_BLOCK}layernorm_after."),
        (rf"{_BLOCK}attn\.qkv\.", f"{_OWN_BLOCK}attention.{{qkv}}_proj."),
        (rf"{_BLOCK}attn\.proj\.", f"{_OWN_BLOCK}attention.o_proj."),
        (
            rf"{_BLOCK}attn\.relative_position_bias_table",
            f"{_OWN_BLOCK}attention.relative_position_bias.relative_position_bias_table",
        ),
        (rf"{_BLOCK}mlp\.", f"{_OWN_BLOCK}mlp."),
        (r"backbone\.layers\.(\d+\.downsample)\.", f"{_OWN_SWIN}encoder.layers.\\1."),
        (
            r"backbone\.norm(\d)\.",
            lambda match: f"backbone.swin.hidden_states_norms.stage{int(match[1]) + 1}.",
        ),
    ),
    not_needed=(
        r"criterion\.empty_weight",  # the loss's, from no_object_weight
        r"pixel_(mean|std)",  # ImageNet's, which the Swin backbone has
        r"backbone\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index",  # follows from the window
    ),
)

_SWIN = r"model\.pixel_level_module\.encoder\."
_PUBLISHED_BLOCK = rf"{_SWIN}(?:swin\.)?encoder\.layers\.(\d+\.blocks\.\d+)\."

# save_pretrained writes the Swin's names of earlier versions; those of transformers 5 are taken, too.
TRANSFORMERS = NameRules(
    rules=(
        (r"class_predictor\.", _CLASS),
        (r"model\.pixel_level_module\.decoder\.", _OWN_PIXEL),
        (r"model\.transformer_module\.", _OWN_QUERY),
        (rf"{_SWIN}hidden_states_norms\.", "backbone.swin.hidden_states_norms."),
        (
            rf"{_PUBLISHED_BLOCK}attention\.self\.(query|key|value)\.",
            lambda match: f"{_OWN_SWIN}encoder.layers.{match[1]}.attention.{match[2][0]}_proj.",
        ),
        (
            rf"{_PUBLISHED_BLOCK}attention\.self\.relative_position_bias_table",
            f"{_OWN_BLOCK}attention.relative_position_bias.relative_position_bias_table",
        ),
        (rf"{_PUBLISHED_BLOCK}attention\.output\.dense\.", f"{_OWN_BLOCK}attention.o_proj."),
        (rf"{_PUBLISHED_BLOCK}intermediate\.dense\.", f"{_OWN_BLOCK}mlp.fc1."),
        (rf"{_PUBLISHED_BLOCK}output\.dense\.", f"{_OWN_BLOCK}mlp.fc2."),
        (rf"{_SWIN}(?:swin\.)?(embeddings|encoder)\.", rf"{_OWN_SWIN}\1."),
    ),
    not_needed=(
        r"criterion\.empty_weight",  # the loss's, from no_object_weight
        rf"{_SWIN}(?:swin\.)?layernorm\.(weight|bias)",  # of a classifier; no feature passes through it
        rf"{_PUBLISHED_BLOCK}attention\.(self\.)?(relative_position_bias\.)?relative_position_index",
    ),
)
