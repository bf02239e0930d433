"""Checks every ``_target_`` node of a composed configuration against the signature of what it names."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from modise_lightning.configuration.top_level_settings import check_top_level
from modise_lightning.errors import UserError

_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def check_config(config: DictConfig) -> None:
    """Check names, types and completeness of all arguments before anything is built.

    Raises:
        UserError: Names the key, what was expected and what was found.
    """
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    check_top_level(typing.cast(dict[str, Any], container))
    _walk(container, "", {})


def check_parts(config: DictConfig, parts: Sequence[str], added: Mapping[str, Collection[str]]) -> None:
    """Check some parts of a configuration, and that their partial nodes will be complete.

    Args:
        config: The whole configuration.
        parts: Keys to check; other ones may be wrong.
        added: For a partial node, by its key, the arguments that the program adds.

    Raises:
        UserError: A part is missing; or names the key, what was expected and what was found.
    """
    for part in parts:
        node = OmegaConf.select(config, part)
        if node is None:
            raise UserError(f"{part}: missing.")
        if not isinstance(node, DictConfig):
            raise UserError(f"{part}: a group of settings is expected, found {node!r}.")
        _walk(OmegaConf.to_container(node, resolve=True, throw_on_missing=True), part, added)


def _walk(node: object, path: str, added: Mapping[str, Collection[str]]) -> None:
    if isinstance(node, Mapping):
        if node.get("_target_") is not None:
            _check_call(node, path, added.get(path))
        for key, value in node.items():
            _walk(value, f"{path}.{key}" if path else str(key), added)
    elif isinstance(node, list | ListConfig):
        for index, value in enumerate(node):
            _walk(value, f"{path}[{index}]", added)


def _check_call(node: Mapping[str, Any], path: str, added: Collection[str] | None) -> None:
    target = _find_target(node["_target_"], path)
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = _type_hints(target)
    for key, value in node.items():
        if key in _HYDRA_KEYS:
            continue
        if key not in parameters:
            if takes_any:
                continue
            raise UserError(
                f"{path}.{key}: {node['_target_']} takes no '{key}'; it takes {', '.join(parameters)}."
            )
        if key in hints and not _holds_target(value):
            _check_type(value, hints[key], f"{path}.{key}")
    if added is not None or not node.get("_partial_", False):
        required = {
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        missing = sorted(required - node.keys() - set(added or ()))
        if missing:
            raise UserError(f"{path}: {node['_target_']} also needs {', '.join(missing)}.")


def _find_target(name: str, path: str) -> Callable[..., Any]:
    try:
        return typing.cast(Callable[..., Any], get_object(name))
    except Exception as error:
        raise UserError(f"{path}._target_: cannot import '{name}' ({error}).") from error


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Give the types of a function's or constructor's arguments, or none if they cannot be resolved."""
    typed: Any = target
    # Fields that a dataclass inherits are typed by names that its own module need not know.
    if inspect.isclass(target) and not dataclasses.is_dataclass(target):
        typed = target.__init__
    try:
        return typing.get_type_hints(typed, include_extras=True)
    except NameError:  # Some libraries' hints name types that they import for type checkers only.
        return {}


def _holds_target(value: object) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_holds_target(item) for item in value.values())
    return isinstance(value, list) and any(_holds_target(item) for item in value)


def _check_type(value: object, hint: Any, path: str) -> None:  # noqa: ANN401 (any type hint)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticSchemaGenerationError:
        return
    except PydanticUserError as error:  # A dataclass, which only a _target_ makes.
        raise UserError(f"{path}: expected {hint.__name__} (a _target_), found {value!r}.") from error
    expected = getattr(hint, "__name__", None) if inspect.isclass(hint) else None
    if typing.get_origin(hint) is typing.Annotated:
        expected = getattr(typing.get_args(hint)[0], "__name__", None)
    expected = expected or str(hint).replace("typing.", "").replace("collections.abc.", "")
    try:
        validated = adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{path}: expected {expected}, found {value!r} ({reason}).") from error
    changed = isinstance(value, str | float) and not isinstance(validated, type(value))
    if changed or (isinstance(validated, bool) and not isinstance(value, bool)):
        raise UserError(f"{path}: expected {expected}, found {value!r}.")
