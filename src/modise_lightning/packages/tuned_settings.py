"""Settings that a package brings for its model: numbers of inference, and nothing that names anything."""

from __future__ import annotations

from typing import Annotated, Any

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError

_Share = Annotated[float, Field(ge=0, le=1)]


class _Inference(BaseModel):
    """What ``conf/inference/default.yaml`` explains; each may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    score_threshold: _Share | None = None
    no_object_competes: bool | None = None
    overlap_threshold: _Share | None = None
    mask_threshold: _Share | None = None
    max_instances: Annotated[int, Field(ge=1, le=10_000)] | None = None


class _Overlay(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    inference: _Inference


def read_settings(text: str, where: str) -> dict[str, Any]:
    """Read an overlay: ``{inference: {score_threshold: 0.3, ...}}``, with or without ``overrides`` around it.

    Args:
        text: YAML.
        where: The file, for messages.

    Returns:
        Nested changes to the configuration of the model.

    Raises:
        UserError: It is something else, or a value has another type or is out of its range.
    """
    try:
        # Aliases make a small text unfold into any size.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"{where}: has YAML aliases; write the values out.")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: is no YAML ({' '.join(str(error).split())[:200]}).") from error
    if isinstance(content, dict) and list(content) == ["overrides"]:
        content = content["overrides"]
    try:
        overlay = _Overlay.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(_Inference.model_fields)
        raise UserError(
            f"{where}: {key or 'the file'}: {first['msg']}; it may hold inference: {known}."
        ) from error
    return overlay.model_dump(exclude_none=True)
