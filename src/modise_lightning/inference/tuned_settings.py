"""Settings of inference that data chose: thresholds, rules and views, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.inference.views import Flip, ViewSettings
from modise_lightning.regular_files import check_regular

_MAXIMUM_BYTES = 64 * 1024


class _Inference(BaseModel):
    """Rules of inference, as in ``conf/inference``; each may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    score_threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    no_object_competes: bool | None = None
    overlap_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    mask_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_instances: Annotated[int, Field(ge=1, le=10_000)] | None = None


class _Views(BaseModel):
    """Views of each image, as in ``conf/views``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    flips: Annotated[list[Flip], Field(min_length=1, max_length=4)]
    scales: Annotated[list[Annotated[float, Field(ge=0.1, le=10)]], Field(min_length=1, max_length=10)]


class TunedSettings(BaseModel):
    """What a file that ``tune`` wrote may hold, and a package of a model with it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inference: _Inference = _Inference()
    views: _Views | None = None

    def plain(self) -> dict[str, Any]:
        """Give what is set, as nested dicts; empty for nothing."""
        return {key: value for key, value in self.model_dump(exclude_none=True).items() if value}

    def with_overrides(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Put these below the user's own changes to the checkpoint's configuration, which go before."""
        own = self.inference.model_dump(exclude_none=True)
        return {**overrides, "inference": {**own, **overrides.get("inference", {})}} if own else {**overrides}

    def choose_views(self, named: ViewSettings) -> ViewSettings:
        """Give these views, unless the user named some.

        Raises:
            UserError: Both name some, and others.
        """
        if self.views is None:
            return named
        own = ViewSettings(self.views.flips, self.views.scales)
        if not named.is_plain and named.views != own.views:
            raise UserError("views: the tuned settings name other ones; leave views or the settings out.")
        return own


def parse_tuned(text: str, where: str) -> TunedSettings:
    """Read tuned settings without running anything in them.

    Args:
        text: YAML, ``{inference: {score_threshold: 0.3, ...}, views: {flips: [...], scales: [...]}}``.
        where: The file, for messages.

    Raises:
        UserError: It is no YAML, or holds something else; names the key.
    """
    try:
        # Aliases make a small text unfold into any size.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"{where}: has YAML aliases; write the values out.")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: is no YAML ({' '.join(str(error).split())[:200]}).") from error
    try:
        return TunedSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        known = ", ".join(_Inference.model_fields)
        raise UserError(
            f"{where}: {key}: {first['msg']}; give a file that tune wrote: it may hold inference: {known}, "
            "and views: flips, scales."
        ) from error


def read_tuned(setting: str | None) -> tuple[TunedSettings, str | None]:
    """Read the file that ``settings=`` names; nothing is set without one.

    Returns:
        The settings, and the text that says them.

    Raises:
        UserError: It is missing, too large, no YAML, or holds something else; names the key.
    """
    if setting is None:
        return TunedSettings(), None
    where = f"settings: '{setting}'"
    try:
        if check_regular(Path(setting)).stat().st_size > _MAXIMUM_BYTES:
            raise UserError(f"{where} has more than {_MAXIMUM_BYTES} bytes.")
        text = Path(setting).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 ({error.reason}).") from error
    return parse_tuned(text, where), text
