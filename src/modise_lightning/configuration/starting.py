"""Starts a training with the weights of a checkpoint, on other classes than the checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from modise_lightning.configuration.assembly import categories_of
from modise_lightning.configuration.resuming import flatten
from modise_lightning.configuration.stored_config import parse_stored_config
from modise_lightning.errors import UserError
from modise_lightning.pretrained.weights import IN_CHECKPOINT, fingerprint
from modise_lightning.segmenter import Segmenter
from modise_lightning.training.checkpoint import (
    METADATA_KEY,
    read_checkpoint,
    state_fingerprint,
    trained_state,
)

_PREFIX = "segmenter."
_CLASSIFIER = "classifier."
_MOST_DIFFERENCES = 3
# Settings (and all below them) that must agree, as far as both configurations say them as plain values; what
# else does not fit shows in the names and shapes of the weights.
_ARCHITECTURE = (
    "backbone._target_",
    "backbone.projection_channels",
    "backbone.bottleneck_channels",
    "backbone.normalization_groups",
    "captioner._target_",
    "mask_generator._target_",
    "mask_generator.hidden_channels",
    "mask_generator.num_queries",
    "mask_generator.num_heads",
    "mask_generator.pixel_decoder_layers",
    "mask_generator.pixel_decoder_feedforward",
    "mask_generator.decoder_layers",
    "mask_generator.decoder_feedforward",
    "mask_generator.pre_norm",
    "text.classifier._target_",
    "text.classifier.mask_embedding_channels",
    "text.classifier.num_layers",
)
# Published weights bring their own architecture.
_OWN_ARCHITECTURE = "backbone.architecture"
_OWN = ("random", IN_CHECKPOINT)


@dataclass(frozen=True)
class Start:
    """A checkpoint that a training starts from.

    Attributes:
        path: The file.
        state: Its trained weights, by the segmenter's names.
        class_names: Of its classes, in their order; None where its configuration does not say them.
        frozen_weights: Fingerprint of the frozen weights that it was trained with.
    """

    path: Path
    state: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None
    frozen_weights: str


def read_start(config: DictConfig) -> Start | None:
    """Read the checkpoint that a training shall start from, and check what can be before anything is built.

    Args:
        config: Composed training configuration.

    Returns:
        None where it starts from nothing.

    Raises:
        UserError: Settings exclude each other; the checkpoint cannot be read; or its architecture is another.
    """
    if config.init is not None and config.resume is not None:
        raise UserError(
            "init and resume exclude each other: resume continues a training exactly, init starts a new one "
            "with the weights of a checkpoint. Give one of them."
        )
    if config.init is None and config.resume is None:
        if OmegaConf.select(config, "backbone.weights") == IN_CHECKPOINT:
            raise UserError(
                "backbone.weights: 'checkpoint' says that a checkpoint brings them, and none is given. "
                "Add init=CHECKPOINT, or give other weights."
            )
        if config.init_fingerprint is not None:
            raise UserError("init_fingerprint: is of the weights of init=..., which is not given.")
    if config.init is None:
        return None
    path = Path(config.init)
    checkpoint = read_checkpoint(path, "init")
    # Not resolved: nothing in a file is looked up elsewhere.
    stored = OmegaConf.to_container(parse_stored_config(path, checkpoint[METADATA_KEY]["config"]))
    assert isinstance(stored, dict)
    _check_architecture(path, cast(dict[str, Any], stored), config)
    return Start(
        path,
        {
            name.removeprefix(_PREFIX): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith(_PREFIX)
        },
        _class_names(cast(dict[str, Any], stored)),
        checkpoint[METADATA_KEY]["frozen_weights"],
    )


def _check_architecture(path: Path, stored: dict[str, Any], config: DictConfig) -> None:
    present = cast(dict[str, Any], OmegaConf.to_container(config))
    before, now = flatten(stored), flatten(present)
    prefixes = list(_ARCHITECTURE)
    if before.get("backbone.weights") in _OWN and now.get("backbone.weights") in _OWN:
        prefixes.append(_OWN_ARCHITECTURE)
    differences = [
        f"{key} (there {before.get(key)}, here {now.get(key)})"
        for key in dict.fromkeys([*now, *before])
        if any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
        and before.get(key) != now.get(key)
        and not any("${" in str(value) for value in (before.get(key), now.get(key)))
    ]
    if differences:
        more = len(differences) - _MOST_DIFFERENCES
        raise UserError(
            f"init: '{path}' is of another architecture: {', '.join(differences[:_MOST_DIFFERENCES])}"
            + (f" and {more} more" if more > 0 else "")
            + ". Give the settings of the model that it holds."
        )


def _class_names(stored: Mapping[str, Any]) -> tuple[str, ...] | None:
    data = stored.get("data")
    nodes = data.get("categories") if isinstance(data, Mapping) else None
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) for node in nodes):
        return None
    return tuple(str(node.get("name")) for node in nodes)


def start_from(start: Start, segmenter: Segmenter, config: DictConfig) -> str:
    """Take over everything but the classes, and note in the configuration what was taken.

    Args:
        start: The checkpoint.
        segmenter: The configured network; is changed.
        config: Its configuration; ``init_fingerprint`` is set.

    Returns:
        What was taken and what was not, in a line.

    Raises:
        UserError: Names or shapes of the weights differ, one is damaged, or they are not those that
            ``init_fingerprint`` names; nothing was changed.
    """
    expected = trained_state(segmenter, segmenter.state_dict())
    of_the_classes = {f"{_CLASSIFIER}{name}" for name in getattr(segmenter.classifier, "of_the_classes", ())}
    trained = {name for name, value in segmenter.named_parameters() if value.requires_grad}
    same_classes = start.class_names == tuple(category.name for category in categories_of(config))
    # Texts are encoded anew; a layer has learned what cannot be told from a name.
    left = of_the_classes - trained if same_classes else of_the_classes
    _check_weights(start, expected, left)
    found = state_fingerprint(start.state, _PREFIX)
    if config.init_fingerprint is not None and config.init_fingerprint != found:
        raise UserError(
            f"init: '{start.path}' holds the weights {found}, init_fingerprint names "
            f"{config.init_fingerprint}. Give the checkpoint with those, or leave init_fingerprint out."
        )
    config.init_fingerprint = found
    own = segmenter.state_dict()
    with torch.no_grad():
        for name in expected:
            if name not in left:
                own[name].copy_(start.state[name])
    fresh = sorted(left & trained)
    line = (
        f"{start.path} ({found}): {len(expected) - len(left)} weights taken; "
        f"fresh for other classes: {', '.join(fresh) or 'none'}"
    )
    if left - trained:
        line += "; the classes' texts are encoded anew"
    if start.frozen_weights != fingerprint(segmenter, _PREFIX):
        line += "; its frozen weights were other ones, to which its trained weights were fitted"
    return line


def _check_weights(start: Start, expected: Mapping[str, Tensor], left: set[str]) -> None:
    missing = sorted(expected.keys() - start.state.keys() - left)
    unexpected = sorted(start.state.keys() - expected.keys())
    shapes = [
        f"{name} (there {tuple(start.state[name].shape)}, here {tuple(value.shape)})"
        for name, value in expected.items()
        if name in start.state and name not in left and start.state[name].shape != value.shape
    ]
    if missing or unexpected or shapes:
        raise UserError(
            f"init: '{start.path}' does not fit the configured model (missing: "
            f"{missing[:_MOST_DIFFERENCES]}, unexpected: {unexpected[:_MOST_DIFFERENCES]}, other shapes: "
            f"{', '.join(shapes[:_MOST_DIFFERENCES]) or 'none'}). Give the settings of the model that it "
            "holds."
        )
    for name, tensor in start.state.items():
        sound = tensor.layout == torch.strided and tensor.dtype == expected[name].dtype
        # What is left may have any shape, but no more values than the file has.
        sound = sound and tensor.nbytes <= tensor.untyped_storage().nbytes()
        if not sound or (tensor.is_floating_point() and not bool(tensor.isfinite().all())):
            raise UserError(
                f"init: '{start.path}': '{name}' is not what was written (another number format, or not "
                "finite); the file is damaged."
            )
