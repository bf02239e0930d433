"""Finds the prepared datasets that ``data=joint`` names, with their folders and tables."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from modise_lightning.configuration.command_line import config_directory, instantiate
from modise_lightning.configuration.ownership import wait_to_own
from modise_lightning.data.prepared.label_space import SOURCE_KEYS
from modise_lightning.data.prepared.writing import INDEX_NAME
from modise_lightning.errors import UserError


def is_joint(config: DictConfig) -> bool:
    """Tell whether a configuration trains on several datasets."""
    return "members" in config.data


def find_members(config: DictConfig) -> None:
    """Fill in ``data.members``: name, labels, folder and classes of each source.

    A configuration of a checkpoint has them already, and only ``data.roots`` moves their folders. A source
    that can be made without a download is made if it is missing.

    Args:
        config: Composed or stored training configuration of joint data.

    Raises:
        UserError: There is no such source, or normal images are wanted in training.
    """
    if config.data.normals == "all":
        raise UserError(
            "data.normals: 'all' is not for data=joint, whose sources have shares of an epoch of their own. "
            "Take none or evaluation."
        )
    roots = {str(name): str(root) for name, root in _mapping(config, "data.roots").items()}
    if config.data.members is None:
        members = [_member(config, str(source), roots) for source in config.data.sources]
    else:
        members = _stored_members(config)
        for member in members:
            member["root"] = roots.get(member["name"], member["root"])
    unknown = sorted(set(roots) - {member["name"] for member in members})
    if unknown:
        raise UserError(
            f"data.roots: '{unknown[0]}' is none of data.sources "
            f"({', '.join(member['name'] for member in members)})."
        )
    config.data.members = members


def warn_of_shared_patients(config: DictConfig) -> None:
    """Name patients who are in two sources, or in a source and in the images that weights were trained on."""
    names = {member.name for member in config.data.members}
    present = names | {str(OmegaConf.select(config, "backbone.repository"))}
    for known in config.data.label_space.get("shared_patients") or ():
        source, other = known.get("source"), known.get("also_in")
        if source in names and other in present:
            print(
                f"warning: patients of {source} are also in {other}: {known.get('why')}. Test images of one "
                "may have been trained on in the other (docs/joint_training.md).",
                file=sys.stderr,
            )


def _mapping(config: DictConfig, key: str) -> dict[Any, Any]:
    found = OmegaConf.select(config, key)
    if not isinstance(found, DictConfig):
        raise UserError(f"{key}: expected names with values, found {str(found)[:100]!r}.")
    return cast(dict[Any, Any], OmegaConf.to_container(found, resolve=True))


def _stored_members(config: DictConfig) -> list[dict[str, Any]]:
    """Read the members of a checkpoint's configuration, which may hold anything."""
    found = OmegaConf.to_container(OmegaConf.create({"members": config.data.members}))
    members = found["members"] if isinstance(found, dict) else None
    if not isinstance(members, list) or not all(
        isinstance(member, dict)
        and set(member) == SOURCE_KEYS
        and isinstance(member["classes"], dict)
        and all(isinstance(member[key], str) for key in ("name", "labels", "root"))
        for member in members
    ):
        raise UserError(
            f"data.members: expected a list of sources, each with {', '.join(sorted(SOURCE_KEYS))}; found "
            f"{str(members)[:100]!r}."
        )
    return cast(list[dict[str, Any]], members)


def _member(config: DictConfig, source: str, roots: dict[str, str]) -> dict[str, Any]:
    name, _, labels = source.partition(":")
    tables = _mapping(config, "data.label_space.sources")
    if name not in tables:
        raise UserError(
            f"data.sources: the label space has no table of '{name}'; it has {', '.join(map(str, tables))}."
        )
    if not isinstance(tables[name], dict) or not tables[name]:
        raise UserError(f"data.label_space.sources.{name}: expected a table a labelling.")
    labels = labels or str(next(iter(tables[name])))
    if labels not in tables[name]:
        raise UserError(
            f"data.sources: the label space's table of '{name}' has no labels '{labels}'; it has "
            f"{', '.join(map(str, tables[name]))}."
        )
    classes = tables[name][labels]
    if not isinstance(classes, dict):
        raise UserError(
            f"data.label_space.sources.{name}.{labels}: expected the dataset's classes, each with a shared "
            f"one or null; found {str(classes)[:100]!r}."
        )
    root = roots.get(name) or _usual_root(config, name, labels)
    return {"name": name, "labels": labels, "root": str(Path(root).resolve()), "classes": classes}


def _usual_root(config: DictConfig, name: str, labels: str) -> str:
    """Give the folder that a dataset's own configuration says; make the dataset if that needs no download."""
    is_running = GlobalHydra.instance().is_initialized()
    with (
        nullcontext()
        if is_running
        else initialize_config_dir(config_dir=str(config_directory()), version_base="1.3")
    ):
        if name not in GlobalHydra.instance().config_loader().get_group_options("data"):
            raise UserError(f"data.roots: where is '{name}'? Give +data.roots.{name}=FOLDER.")
        chosen = [f"data={name}", f"data.normals={config.data.normals}", f"image_size={config.image_size}"]
        own = compose("train", overrides=chosen)
        if "labels" in own.data:
            own = compose("train", overrides=[*chosen, f"data.labels={labels}"])
    index = Path(own.data.root) / INDEX_NAME
    if not index.is_file() and own.data.auto_prepare:
        with wait_to_own(index.parent, f"the preparation of '{index.parent}'"):
            if not index.is_file():  # another process may have made it meanwhile
                instantiate(own.data.preparer).prepare()
    return str(own.data.root)
