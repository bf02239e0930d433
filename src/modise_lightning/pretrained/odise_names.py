"""Names of the weights that ODISE's authors released, and this library's."""

from __future__ import annotations

import re

from modise_lightning.pretrained.mask2former_names import DECODER_RULES
from modise_lightning.pretrained.name_rules import NameRules

_CAPTIONER = r"backbone\.feature_extractor\."
_CLASS = r"sem_seg_head\.predictor\.post_mask_embed\."
# ODISE lists its taps otherwise: VAE encoder, UNet, VAE decoder.
_PLACES = (0, 1, 4, 5, 6, 7, 2, 3)
_STEPS = {"conv1": "reduce", "conv2": "middle", "conv3": "expand", "shortcut": "shortcut"}
_MLP_STEP = 3  # torchvision's MLP counts linear layer, activation and dropout


def _projection(match: re.Match[str]) -> str:
    place, step = _PLACES[int(match[1])], _STEPS[match[2]]
    return f"backbone.projection.projections.{place}.{step}.{int(match[3] is not None)}."


ODISE = NameRules(
    rules=(
        (
            r"backbone\.feature_projections\.([0-7])\.0\.(conv[123]|shortcut)\.(norm\.)?(?=weight$|bias$)",
            _projection,
        ),
        (rf"{_CAPTIONER}clip_project\.linear\.", "captioner.context.projection."),
        (rf"{_CAPTIONER}clip_project\.positional_embedding", "captioner.context.positional_embedding"),
        (rf"{_CAPTIONER}alpha_cond$", "captioner.context.gate"),
        (rf"{_CAPTIONER}time_embed_project\.linear\.", "captioner.time_embedding.projection."),
        (
            rf"{_CAPTIONER}time_embed_project\.positional_embedding",
            "captioner.time_embedding.positional_embedding",
        ),
        (rf"{_CAPTIONER}alpha_cond_time_embed", "captioner.time_embedding.gate"),
        (rf"{_CLASS}pool_proj\.", "classifier.pooled_projection."),
        (rf"{_CLASS}mask_embed\.0\.", "classifier.mask_embedding.0."),
        (
            rf"{_CLASS}mask_embed\.1\.layers\.(\d)\.",
            lambda match: f"classifier.mask_embedding.1.{_MLP_STEP * int(match[1])}.",
        ),
        (rf"{_CLASS}logit_scale", "classifier.log_scale"),
        # The label model's; the caption model has a layer that tells objects from nothing.
        (r"category_head\.text_proj\.", "classifier.text_projection."),
        (r"category_head\.null_embed", "classifier.null_embedding"),
        (r"word_head\.text_proj\.", "classifier.text_projection."),
        (r"sem_seg_head\.predictor\.class_embed\.", "classifier.objectness."),
        *DECODER_RULES,
    ),
    not_needed=(
        r"criterion\.empty_weight",  # the loss's, from no_object_weight
        r"pixel_(mean|std)",  # 0 and 255: images are in [0, 1]
    ),
    reshaped={
        "captioner.time_embedding.gate": lambda gate: gate[None, None],
        "classifier.null_embedding": lambda embedding: embedding.squeeze(0),
    },
)
