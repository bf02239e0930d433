"""Gets a trained model ready to be given away: its configuration without places, and its frozen parts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from modise_lightning.configuration.stored_config import parse_stored_config
from modise_lightning.configuration.trained_model import TrainedModel, read_trained
from modise_lightning.packages.making.sharing import frozen_part, without_places
from modise_lightning.packages.package import FrozenPart
from modise_lightning.pretrained.weights import fingerprint
from modise_lightning.training.checkpoint import METADATA_KEY, read_checkpoint


@dataclass(frozen=True)
class PackedModel:
    """A checkpoint as it goes into a package.

    Attributes:
        checkpoint: With a configuration that names no place of this machine.
        trained: The same model, read and checked.
        frozen_parts: Where the weights come from that are not in it.
    """

    checkpoint: dict[str, Any]
    trained: TrainedModel
    frozen_parts: list[FrozenPart]


def pack_checkpoint(
    path: Path, overrides: dict[str, Any], trusted_targets: Sequence[str] = ()
) -> PackedModel:
    """Build a model from its checkpoint, as whoever gets the package will, and note what it is made of.

    Args:
        path: A checkpoint of a run.
        overrides: Nested changes to its configuration, for building it here alone.
        trusted_targets: Plug-ins that it may name.

    Raises:
        UserError: It cannot be read, or its frozen weights are not here.
    """
    trained = read_trained(path, overrides, trusted_targets)
    segmenter = trained.build().segmenter
    parts = []
    for name, module in (("backbone", segmenter.backbone), ("captioner", segmenter.captioner)):
        if module is not None and any(not each.requires_grad for each in module.parameters()):
            parts.append(frozen_part(name, _node(trained, name), fingerprint(module)))
    if trained.config.text.encoder is not None:
        parts.append(frozen_part("text.encoder", _node(trained, "text.encoder"), None))
    checkpoint = read_checkpoint(path)
    metadata = copy.copy(checkpoint[METADATA_KEY])
    stored = OmegaConf.to_container(parse_stored_config(path, metadata["config"]))
    metadata["config"] = OmegaConf.to_yaml(OmegaConf.create(without_places(cast(dict[str, Any], stored))))
    return PackedModel({**checkpoint, METADATA_KEY: metadata}, trained, parts)


def _node(trained: TrainedModel, part: str) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.select(trained.config, part), resolve=True))
