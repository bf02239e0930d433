"""Starts the mask generator from a published Mask2Former, whatever backbone that one had."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from modise_lightning.errors import UserError
from modise_lightning.pretrained.weights import read_state_dict

_LOGGER = logging.getLogger(__name__)

# Published names (Mask2FormerForUniversalSegmentation) and ours.
_PREFIXES = {
    "model.pixel_level_module.decoder.": "pixel_decoder.",
    "model.transformer_module.": "transformer_module.",
}
# They take the backbone's channels, or are one row a query.
_MAY_DIFFER = (
    "pixel_decoder.input_projections.",
    "pixel_decoder.adapter_",
    "transformer_module.queries_",
)


def start_from_published(mask_generator: nn.Module, path: Path) -> None:
    """Load what fits; what depends on the backbone or the queries stays fresh where its shape differs.

    Args:
        mask_generator: Its state has the prefixes ``pixel_decoder.`` and ``transformer_module.``.
        path: Folder with ``model.safetensors`` as ``save_pretrained`` writes it, or a file of weights.

    Raises:
        UserError: There is no such file, or it is not a Mask2Former with the same layers and sizes.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"mask_generator: '{file}' is missing. Download the repository again.")
    published = {
        own + name.removeprefix(theirs): tensor
        for name, tensor in read_state_dict(file).items()
        for theirs, own in _PREFIXES.items()
        if name.startswith(theirs)
    }
    own = mask_generator.state_dict()
    if own.keys() != published.keys():
        missing, unexpected = sorted(own.keys() - published.keys()), sorted(published.keys() - own.keys())
        raise UserError(
            f"mask_generator: '{file}' is not a Mask2Former with these layers "
            f"(missing: {missing[:3]}, unexpected: {unexpected[:3]}). "
            "Give its layers and sizes, or mask_generator.weights=random."
        )
    fresh = sorted(name for name, tensor in published.items() if tensor.shape != own[name].shape)
    refused = [name for name in fresh if not name.startswith(_MAY_DIFFER)]
    if refused:
        raise UserError(
            f"mask_generator: '{file}' has other sizes than configured: "
            f"{refused[0]} is {tuple(published[refused[0]].shape)}, here {tuple(own[refused[0]].shape)}. "
            "Give its layers and sizes, or mask_generator.weights=random."
        )
    fitting = {name: tensor for name, tensor in published.items() if name not in fresh}
    mask_generator.load_state_dict(fitting, strict=False)
    _LOGGER.info("mask generator: started from %s; fresh: %s", file, ", ".join(fresh) or "nothing")
