"""Which parameters weight decay pulls towards zero: the rules of ODISE, of Mask2Former, and the usual one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerAttention

DecayRule = Literal["odise", "mask2former", "matrices"]

# Those of detectron2's list that occur; all others there are variants of them.
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
_MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MultiheadAttention)
# Swin's, by their names in transformers; Mask2Former calls the second one absolute_pos_embed.
_SWIN_POSITIONS = ("relative_position_bias_table", "position_embeddings")


def decayed_parameters(module: nn.Module, rule: DecayRule) -> Iterator[nn.Parameter]:
    """Give the trained parameters that are decayed, each once.

    Args:
        module: Whose parameters.
        rule: ``odise``: all but normalisation layers and what is called ``bias`` (detectron2's
            ``get_default_optimizer_params`` with ODISE's values), so embeddings, gates and scale are decayed,
            and so are the biases of attention's inputs, which PyTorch keeps under another name.
            ``mask2former``: all but normalisation layers, embeddings and Swin's position tables, so biases
            are decayed (``build_optimizer`` of its ``train_net.py``). ``matrices``: weights of linear layers,
            convolutions and attention, as is usual for transformers.
    """
    seen: set[int] = set()
    inputs = {
        id(projection.bias)
        for part in module.modules()
        if isinstance(part, Mask2FormerAttention)
        for projection in (part.q_proj, part.k_proj, part.v_proj)
    }
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if rule == "odise":
                decayed = not isinstance(part, _NORMS) and (name != "bias" or id(parameter) in inputs)
            elif rule == "mask2former":
                decayed = not isinstance(part, (*_NORMS, nn.Embedding)) and name not in _SWIN_POSITIONS
            else:
                decayed = isinstance(part, _MATRICES) and parameter.ndim >= 2
            if decayed:
                yield parameter
