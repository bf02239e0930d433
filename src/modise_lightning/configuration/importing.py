"""Puts a published model's weights into a configured model, and accounts for every one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from modise_lightning.configuration.assembly import categories_of
from modise_lightning.errors import UserError
from modise_lightning.pretrained.published import PublishedModel, check_weight

# What a command's configuration has beside that of a training.
_OF_THE_COMMAND = ("source", "output", "trained_on")
_MOST_NAMES = 3
_MOST_LISTED = 50
_CLASSES = "classifier.linear.bias"
# What shapes do not show, by key of transformers' config.json; and what is fixed here.
_SETTINGS = {
    "num_attention_heads": "mask_generator.num_heads",
    "pre_norm": "mask_generator.pre_norm",
}
_FIXED = {
    "activation_function": "relu",
    "feature_strides": [4, 8, 16, 32],
    "common_stride": 4,
    "backbone_config.model_type": "swin",
    "backbone_config.hidden_act": "gelu",
}


@dataclass(frozen=True)
class Account:
    """What became of the tensors of a published model.

    Attributes:
        taken: Published names of those that are in the model now.
        not_needed: Published names of those that this library has no use for, as is known.
        homeless: Published names of those that it does not know.
    """

    taken: tuple[str, ...]
    not_needed: tuple[str, ...]
    homeless: tuple[str, ...]


def prepare_config(config: DictConfig, published: PublishedModel) -> None:
    """Make the command's configuration that of the model, and check what can be before the model is built.

    Args:
        config: Composed and checked; is changed.
        published: The model that is imported.

    Raises:
        UserError: There are no classes or another number of them, or the model's settings are other ones.
    """
    with open_dict(config):
        for key in _OF_THE_COMMAND:
            del config[key]
    if config.data.categories is None:
        raise UserError(
            "data.categories: a published model does not say its classes; name them, or choose data=... that "
            "has them."
        )
    _check_settings(config, published)
    classes = published.translation.state.get(_CLASSES)
    categories = categories_of(config)
    if (
        config.text.encoder is None
        and classes is not None
        and classes.ndim == 1
        and len(classes) != len(categories) + 1
    ):
        raise UserError(
            f"source: '{published.path}' has {len(classes) - 1} classes, data.categories has "
            f"{len(categories)}. Give the classes that it was trained with, in their order."
        )
    # All of it comes from the published model: nothing has to be there before.
    config.mask_generator.weights = "random"
    if any(name.startswith("backbone.swin.") for name in published.translation.state):
        config.backbone.weights = "checkpoint"


def _check_settings(config: DictConfig, published: PublishedModel) -> None:
    if published.settings is None:
        return
    expected = {key: OmegaConf.select(config, ours) for key, ours in _SETTINGS.items()} | _FIXED
    for key, value in expected.items():
        found = _select(published.settings, key)
        if found is not None and found != value:
            where = f" ({_SETTINGS[key]})" if key in _SETTINGS else ""
            raise UserError(
                f"source: '{published.path}' does not fit the configured model: its config.json has "
                f"{key}={str(found)[:100]}, {value} is needed{where}."
            )


def _select(settings: Mapping[str, Any], key: str) -> object:
    node: object = settings
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def load_published(segmenter: nn.Module, published: PublishedModel) -> Account:
    """Put all weights into a model.

    Args:
        segmenter: The configured network; what it trains is what has to come from the published model.
        published: Its weights.

    Raises:
        UserError: Weights are missing, or one has another shape or number format or is not finite; nothing
            was changed.
    """
    translation = published.translation
    trained = {name: value for name, value in segmenter.named_parameters() if value.requires_grad}
    homeless = (
        *translation.unknown,
        *dict.fromkeys(translation.origins[name] for name in translation.state if name not in trained),
    )
    missing = [name for name in trained if name not in translation.state]
    if missing:
        raise UserError(
            f"source: '{published.path}' ({published.kind}) does not fit the configured model: missing are "
            f"{_some(missing)}; no home for {_some(homeless)}. Give the experiment that it is "
            "of (experiment=...)."
        )
    weights = {
        name: check_weight(published.path, translation.origins[name], translation.state[name], parameter)
        for name, parameter in trained.items()
    }
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
    taken = tuple(dict.fromkeys(translation.origins[name] for name in trained))
    return Account(taken, translation.not_needed, homeless)


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(name[:150] for name in names[:_MOST_NAMES])
    return f"{len(names)} ({shown}{', ...' if len(names) > _MOST_NAMES else ''})"


def describe(published: PublishedModel, account: Account, config: DictConfig) -> list[str]:
    """Say in lines what was taken and what was not."""
    total = len(account.taken) + len(account.not_needed) + len(account.homeless)
    lines = [
        f"{published.kind}, SHA-256 {published.digest[:16]}: {len(account.taken)} of {total} tensors taken; "
        f"not needed: {', '.join(account.not_needed[:_MOST_LISTED]) or 'none'}"
    ]
    lines += [f"no home for: {name}" for name in account.homeless[:_MOST_LISTED]]
    if len(account.homeless) > _MOST_LISTED:
        lines.append(f"no home for {len(account.homeless) - _MOST_LISTED} more")
    return [*lines, *_differing_names(published, config)]


def _differing_names(published: PublishedModel, config: DictConfig) -> list[str]:
    """Compare the classes' names, where the published model says them: their order decides."""
    names = None if published.settings is None else published.settings.get("id2label")
    if not isinstance(names, Mapping) or config.text.encoder is not None:
        return []
    theirs = [str(names.get(str(index), ""))[:100] for index in range(len(names))]
    if all(re.fullmatch(r"LABEL_\d+", name) for name in theirs):
        return []
    ours = [category.name for category in categories_of(config)]
    differing = [pair for pair in zip(theirs, ours, strict=False) if pair[0].lower() != pair[1].lower()]
    if not differing:
        return []
    return [
        f"{len(differing)} of {len(ours)} classes have other names in config.json (first: "
        f"'{differing[0][0]}', here '{differing[0][1]}'); they are taken in their order"
    ]
