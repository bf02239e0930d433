"""A configuration as it may be given away: without the places of its maker's machine."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from modise_lightning.packages.package import FrozenPart


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """Replace absolute paths by their last part, and those of published weights by ``hub``.

    Args:
        config: Plain values, not resolved: what refers to a path follows it.
    """
    return {key: _shared(value, config, key) for key, value in config.items()}


def _shared(value: Any, parent: dict[str, Any], key: str) -> Any:  # noqa: ANN401 (plain values)
    if isinstance(value, dict):
        return {name: _shared(item, value, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_shared(item, {}, "") for item in value]
    if not isinstance(value, str):
        return value
    if key == "weights" and isinstance(parent.get("repository"), str) and _is_local(value):
        return "hub"  # the fingerprint tells whether they are the same
    return last_part(value)


def last_part(value: str) -> str:
    """Give the last part of an absolute path; other texts as they are."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(value)
        if path.is_absolute() or value.startswith(("~/", "~\\")):
            return path.name
    return value


def frozen_part(part: str, node: dict[str, Any], fingerprint: str | None) -> FrozenPart:
    """Say where a frozen part's weights come from.

    Args:
        part: Key of the configuration.
        node: Its settings.
        fingerprint: Of its frozen weights; None where they are not needed to use the model.
    """
    weights = str(node.get("weights", ""))
    repository = node.get("repository")
    return FrozenPart(
        part=part,
        repository=repository if isinstance(repository, str) and weights != "random" else None,
        weights=f"local '{PurePosixPath(weights).name}'" if _is_local(weights) else weights,
        fingerprint=fingerprint,
    )


def _is_local(weights: str) -> bool:
    return weights not in ("hub", "random", "checkpoint", "") and "${" not in weights
