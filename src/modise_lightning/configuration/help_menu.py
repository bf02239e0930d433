"""The menu that ``--help`` shows: the choices of a command with what each is for, and its own settings."""

from __future__ import annotations

import importlib.resources
import re
from importlib.resources.abc import Traversable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

# What nobody chooses although there are several: the backbone does, or another file builds on it.
_NOT_CHOSEN = frozenset({"scale", "data/base"})
# Groups inside groups for which we have choices, by the command that they are for.
_NESTED = {
    "train": ("hydra/launcher", "inference/clip_head"),
    "import_checkpoint": ("inference/clip_head",),
}
# What a command composes for others' sake and does not use.
_UNUSED = {
    "prepare": ("protocol",),
    "preview": ("protocol",),
    "import_checkpoint": (
        "augmentation",
        "criterion",
        "feature_store",
        "logger",
        "optimizer",
        "sampling",
        "trainer",
    ),
}
_GROUP = re.compile(r"\w+(/\w+)?")
_PACKAGE = "# @package"
_WIDTH = 110


def register_menu() -> None:
    """Make the menu known to Hydra's help template as ``${command_menu:}`` and ``${command_settings:}``."""
    OmegaConf.register_new_resolver("command_purpose", command_purpose, replace=True)
    OmegaConf.register_new_resolver("command_menu", command_menu, replace=True)
    OmegaConf.register_new_resolver("command_settings", command_settings, replace=True)


def command_purpose(*, _root_: DictConfig) -> str:
    """Say what a command is for: the first line of its configuration."""
    return _escape(purpose_of(_primary(_root_)))


def command_menu(*, _root_: DictConfig) -> str:
    """List the choices of a command, a line each; ``*`` marks those that are made.

    Args:
        _root_: The composed configuration with Hydra's own part.
    """
    command = str(_root_.hydra.job.config_name)
    made = {str(group): choice for group, choice in _root_.hydra.runtime.choices.items()}
    folders = _folders(_root_)
    lines = []
    for group in sorted(made):
        if not _GROUP.fullmatch(group) or ("/" in group and group not in _NESTED.get(command, ())):
            continue
        found = find_choices(folders, group)
        if not _is_chosen(group, found) or group in _UNUSED.get(command, ()):
            continue
        lines.append(f"{group}=")
        width = max(len(choice) for choice in found)
        for choice, purpose in found.items():
            mark = "*" if choice == made[group] else " "
            lines.append(_shorten(f"  {mark} {choice:<{width}}  {purpose}"))
    if not lines:
        return "none: this command has only the settings below"
    return _escape("\n".join(lines))


def command_settings(*, _root_: DictConfig) -> str:
    """Show the settings at the top of a command's configuration, as its files have and explain them."""
    folders = _folders(_root_)
    texts = []
    for group, choice in _root_.hydra.runtime.choices.items():
        if not re.fullmatch(r"\w+", str(group)) or choice is None:
            continue
        file = _find(folders, f"{group}/{choice}.yaml")
        if file is None or _is_chosen(str(group), find_choices(folders, str(group))):
            continue
        if file.read_text().startswith(f"{_PACKAGE} _global_"):
            texts.append(_body(file))
    return _escape("\n".join([_body(_primary(_root_)), *texts]))


def _is_chosen(group: str, found: dict[str, str]) -> bool:
    return bool(found) and group not in _NOT_CHOSEN and list(found) != ["default"]


def find_choices(folders: list[Traversable], group: str) -> dict[str, str]:
    """Find the choices of a group that a user makes, with what each is for.

    Args:
        folders: Where configurations are looked for, the first one first.
        group: Its name, e.g. ``backbone``.
    """
    found: dict[str, str] = {}
    for folder in folders:
        place = folder.joinpath(group)
        for file in sorted(place.iterdir(), key=lambda entry: entry.name) if place.is_dir() else ():
            choice = file.name.removesuffix(".yaml")
            if file.name != choice and f"{group}/{choice}" not in _NOT_CHOSEN:
                found.setdefault(choice, purpose_of(file))
    return found


def purpose_of(file: Traversable) -> str:
    """Read what a configuration file is for: its first comment, without the line that tells the package."""
    for line in file.read_text().splitlines():
        if line.startswith("#") and not line.startswith(_PACKAGE):
            return line.removeprefix("#").strip()
    return ""


def _folders(root: DictConfig) -> list[Traversable]:
    """Give the folders that Hydra searches, those of plug-ins too, but not Hydra's own."""
    folders: list[Traversable] = []
    for source in root.hydra.runtime.config_sources:
        if source.schema == "file":
            folders.append(Path(source.path))
        elif source.schema == "pkg" and source.path.split(".")[0] != "hydra":
            folders.append(importlib.resources.files(source.path))
    return folders


def _primary(root: DictConfig) -> Traversable:
    name = f"{root.hydra.job.config_name}.yaml"
    file = _find(_folders(root), name)
    if file is None:
        raise FileNotFoundError(name)
    return file


def _find(folders: list[Traversable], name: str) -> Traversable | None:
    return next((file for file in (folder.joinpath(name) for folder in folders) if file.is_file()), None)


def _body(file: Traversable) -> str:
    """Leave out what is before the settings: the first comments and the defaults list."""
    lines = file.read_text().splitlines()
    start = next((number for number, line in enumerate(lines) if line and line[0] not in "# -"), len(lines))
    if start < len(lines) and lines[start].startswith("defaults:"):
        start += 1
        while start < len(lines) and (not lines[start] or lines[start][0] in " -#"):
            start += 1
    return "\n".join(f"  {line}" for line in lines[start:] if line)


def _shorten(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3].rstrip()}..."


def _escape(text: str) -> str:
    """Keep Hydra's template from reading a dollar of ours as a name to be filled in."""
    return text.replace("$", "$$")
