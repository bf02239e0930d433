"""Checks that the configuration in a checkpoint is one that this version of the library can build."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from modise_lightning.config_check import check_parts
from modise_lightning.errors import UserError

_PARTS = (
    "backbone",
    "captioner",
    "text",
    "mask_generator",
    "criterion",
    "inference",
    "optimizer",
    "metrics",
    "data.module",
)
# What ``assembly`` adds to the partial ones.
_ADDED = {
    "captioner": ("shape",),
    "text.classifier": (
        "num_categories",
        "hidden_channels",
        "text_embeddings",
        "prompt_categories",
        "null_embedding",
    ),
    "mask_generator": ("feature_channels",),
    "inference": ("isthing",),
    "metrics": ("category_names", "isthing"),
}


def check_stored_config(path: Path, config: DictConfig) -> None:
    """Check the parts that a trained model is rebuilt from.

    Args:
        path: The checkpoint, for messages.
        config: The configuration in it.

    Raises:
        UserError: A key is missing, is not known or has another type here.
    """
    try:
        check_parts(config, _PARTS, _ADDED)
    except (UserError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"checkpoint: '{path}' was written by another version of modise_lightning: in its configuration, "
            f"{reason}. Use that version, or train again."
        ) from error
