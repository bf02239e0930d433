"""Reads the configuration in a checkpoint as data: what it names is checked before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from modise_lightning.configuration.config_check import check_parts
from modise_lightning.configuration.moved_targets import with_present_targets
from modise_lightning.configuration.stored_targets import may_be_built
from modise_lightning.configuration.top_level_settings import check_top_level
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
_MAYBE_NOT_BUILT = ("captioner", "feature_store")  # null where there is none
_LOOKED_INTO = ("name", "output_dir", "text.encoder")  # whatever they are
_CLIP_HEAD = ("enabled", "alpha", "beta", "template", "training_texts")
# Of the run alone: no part of the trained model, and never built from a checkpoint.
_OF_THE_RUN = ("callbacks", "feature_store", "logger", "trainer")
# The only resolver that checkpoints were written with, in ``logger.tags``; it names a choice and never runs.
_WRITTEN_RESOLVER = re.compile(r"\$\{hydra:runtime\.choices\.\w+\}")
_LONGEST_KEY = 100
_OUR_DATA = "modise_lightning.data.loading.datamodule.PanopticDataModule"
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
# The largest shipped configuration, with a hundred classes of five texts each, has some 100,000 characters.
MAXIMUM_CHARACTERS = 1_000_000
MAXIMUM_EXPANDED_CHARACTERS = 10 * MAXIMUM_CHARACTERS


def read_stored_config(
    path: Path, text: str, overrides: Mapping[str, Any], trusted_targets: Sequence[str] = ()
) -> DictConfig:
    """Read the configuration that a trained model is rebuilt from, without running anything that it names.

    Args:
        path: The checkpoint, for messages.
        text: The YAML in it.
        overrides: The user's nested changes.
        trusted_targets: What it may name beside what the library ships, as the user says.

    Returns:
        The configuration, without what concerned the run alone.

    Raises:
        UserError: It names something that it may not, is too large, or is of another version.
    """
    config = parse_stored_config(path, text)
    _check_resolvers(path, config)
    _check_targets(path, config, trusted_targets, resolve=False)
    _add_later_settings(config)
    with open_dict(config):
        tree = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
        for section in _OF_THE_RUN:
            if section in tree:
                del config[section]
        if isinstance(tree.get("data"), dict) and "auto_prepare" in tree["data"]:
            config.data.auto_prepare = False  # a file does not decide what is written where
    OmegaConf.set_struct(config, True)
    try:
        config = cast(DictConfig, OmegaConf.merge(config, overrides))
    except OmegaConfBaseException as error:
        raise UserError(
            f"overrides.{error.full_key}: the checkpoint's configuration has no such key."
        ) from error
    _check_expansion(path, config)
    try:
        _check_targets(path, config, trusted_targets, resolve=True)
        check_top_level(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
        check_parts(config, _PARTS, _ADDED)
        _check_nodes(config)
    except _ForbiddenError:
        raise
    except (UserError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"checkpoint: '{path}' was written by another version of modise_lightning: in its configuration, "
            f"{reason}. Use that version, or train again."
        ) from error
    return config


def _add_later_settings(config: DictConfig) -> None:
    """Add what a configuration of before does not say, so that overrides can."""
    module = OmegaConf.select(config, "data.module", throw_on_resolution_failure=False)
    if not isinstance(module, DictConfig) or module.get("_target_") != _OUR_DATA or "normals" in module:
        return
    with open_dict(config):
        module.normals, module.normal_share = "none", 0.2


def _check_nodes(config: DictConfig) -> None:
    """Check that what ``assembly`` builds, completes and looks into can be.

    Raises:
        UserError: Names the key.
    """
    for part in (*(part for part in _PARTS if part != "text"), "text.classifier", "text.encoder"):
        node = OmegaConf.select(config, part)
        if node is None and part == "text.encoder":
            continue  # of a learned classifier
        if part in _MAYBE_NOT_BUILT and isinstance(node, DictConfig) and node.get("_target_") is None:
            continue
        if not isinstance(node, DictConfig) or node.get("_target_") is None:
            raise UserError(f"{part}: a _target_ is expected, found {node!r}.")
        if bool(node.get("_partial_", False)) != (part in _ADDED):
            raise UserError(f"{part}._partial_: {str(part in _ADDED).lower()} is expected.")
    clip_head = OmegaConf.select(config, "clip_head")
    needed = [*_LOOKED_INTO, *(f"clip_head.{key}" for key in (_CLIP_HEAD if clip_head is not None else ()))]
    for key in needed:
        parent, _, name = key.rpartition(".")
        if name not in (OmegaConf.select(config, parent) if parent else config):
            raise UserError(f"{key}: missing.")


class _ForbiddenError(UserError):
    """A file asks for something that no file may ask for."""


def parse_stored_config(path: Path, text: str) -> DictConfig:
    """Read the YAML in a checkpoint; what it refers to is not put in yet.

    Args:
        path: The checkpoint, for messages.
        text: The YAML.

    Raises:
        UserError: It is damaged, too large, or would unfold.
    """
    if len(text) > MAXIMUM_CHARACTERS:
        raise UserError(
            f"checkpoint: the configuration in '{path}' has {len(text)} characters, more than "
            f"{MAXIMUM_CHARACTERS}."
        )
    try:
        # Aliases make a small text unfold into any size; none is ever written.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise _ForbiddenError(f"checkpoint: the configuration in '{path}' has YAML aliases.")
        config = OmegaConf.create(text)
    except UserError:
        raise
    except (
        yaml.YAMLError,
        OmegaConfBaseException,
        ValueError,
        TypeError,
        AssertionError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"checkpoint: the configuration in '{path}' is damaged ({reason}).") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"checkpoint: the configuration in '{path}' is a list; keys with values are needed.")
    return cast(DictConfig, OmegaConf.create(with_present_targets(OmegaConf.to_container(config))))


def _items(node: object, place: str = "") -> Iterator[tuple[str, str, object]]:
    """Go through a plain tree: place of the node that holds it ("" at the top), key and value."""
    children: list[tuple[str, object]] = []
    if isinstance(node, dict):
        children = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        children = [(f"[{index}]", value) for index, value in enumerate(node)]
    for key, value in children:
        yield place, key, value
        yield from _items(value, _join(place, key))


def _join(place: str, key: str) -> str:
    return key if not place else f"{place}{key}" if key.startswith("[") else f"{place}.{key}"


def _check_resolvers(path: Path, config: DictConfig) -> None:
    """Refuse ``${name:...}``, which calls a function; ``${key}``, which copies a value, may stay."""
    for place, key, value in _items(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and _calls_a_resolver(_WRITTEN_RESOLVER.sub("", value)):
            raise _ForbiddenError(
                f"checkpoint: the configuration in '{path}' calls a resolver, which no file may, in "
                f"{_join(place, key)}: {value[:200]}. It was not called."
            )


def _calls_a_resolver(text: str) -> bool:
    depth = 0
    for opening, character in re.findall(r"(\$\{)|([}:])", text):
        if opening:
            depth += 1
        elif character == "}":
            depth = max(0, depth - 1)
        elif depth:
            return True
    return False


def _check_targets(path: Path, config: DictConfig, trusted: Sequence[str], *, resolve: bool) -> None:
    """Check all keys of the tree that would make Hydra build something, before anything is imported."""
    for place, key, value in _items(OmegaConf.to_container(config, resolve=resolve)):
        if (
            not re.fullmatch(r"_\w+_", key)
            or (value is None and (key != "_target_" or place in _MAYBE_NOT_BUILT))
            or (key == "_partial_" and isinstance(value, bool))
        ):
            continue
        found = str(value)[:200]
        if key != "_target_" or not isinstance(value, str):
            remedy = "Only a name as _target_ and true or false as _partial_ may stand in a checkpoint."
        elif value in trusted or may_be_built(value, place):
            continue
        else:
            remedy = f"If it is a plug-in that you trust: trusted_targets='[{found}]'."
        raise _ForbiddenError(
            f"checkpoint: the configuration in '{path}' asks for {_join(place, key)}={found}, which "
            f"modise_lightning does not build there; nothing of it was imported or run. {remedy}"
        )


def _check_expansion(path: Path, config: DictConfig) -> None:
    """Check how long the values become that refer to others, before they are put in."""
    tree = OmegaConf.to_container(config, resolve=False)  # asking a DictConfig would already put values in
    lengths: dict[str, int] = {}

    def length(node: object) -> int:
        if isinstance(node, dict):
            return sum(length(value) + len(str(key)) for key, value in node.items())
        if isinstance(node, list):
            return sum(length(value) + 1 for value in node)
        text = str(node)
        total = len(text)
        while references := _REFERENCE.findall(text):
            total += sum(referred(key) for key in references)
            text = _REFERENCE.sub(inserted, text)
        return total

    def inserted(match: re.Match[str]) -> str:
        """Give the part of a key that a reference inside of another one stands for."""
        before = match.string[: match.start()]
        return plain(match.group(1)) if before.count("${") > before.count("}") else ""

    def raw(key: str) -> object:
        node: object = tree
        for part in key.replace("[", ".").replace("]", "").split("."):
            if isinstance(node, dict):
                node = node.get(part)
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None  # OmegaConf tells it
        return node

    def plain(key: str) -> str:
        value = str(raw(key))
        if "$" in value or len(value) > _LONGEST_KEY:
            raise _ForbiddenError(f"checkpoint: in the configuration in '{path}', {key} is no plain name.")
        return value

    def referred(key: str) -> int:
        if lengths.get(key) == -1:
            raise _ForbiddenError(f"checkpoint: in the configuration in '{path}', {key} refers to itself.")
        if key not in lengths:
            lengths[key] = -1
            lengths[key] = length(raw(key))
        return lengths[key]

    try:
        total = length(tree)
    except RecursionError:
        total = MAXIMUM_EXPANDED_CHARACTERS + 1
    if total > MAXIMUM_EXPANDED_CHARACTERS:
        raise _ForbiddenError(
            f"checkpoint: the configuration in '{path}' unfolds to more than {MAXIMUM_EXPANDED_CHARACTERS} "
            "characters."
        )
