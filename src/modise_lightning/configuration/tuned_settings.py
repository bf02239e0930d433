"""Reads the overlay that a tuning wrote: thresholds of inference and views, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.inference.views import Flip, ViewSettings
from modise_lightning.regular_files import check_regular

_MAXIMUM_BYTES = 64 * 1024


class _Inference(BaseModel):
    """Thresholds, as in ``conf/inference``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    score_threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    overlap_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    mask_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None


class _Views(BaseModel):
    """Views of each image, as in ``conf/views``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    flips: list[Flip]
    scales: list[float]


class TunedSettings(BaseModel):
    """What an overlay may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inference: _Inference = _Inference()
    views: _Views | None = None

    def with_overrides(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Put these below the user's own changes to the checkpoint's configuration, which go before."""
        own = {"inference": self.inference.model_dump(exclude_none=True)}
        merged = OmegaConf.merge(OmegaConf.create(own), overrides)
        return cast(dict[str, Any], OmegaConf.to_container(merged))

    def choose_views(self, named: ViewSettings) -> ViewSettings:
        """Give the overlay's views, unless the user named some.

        Raises:
            UserError: Both name some, and others.
        """
        if self.views is None:
            return named
        own = ViewSettings(self.views.flips, self.views.scales)
        if not named.is_plain and named.views != own.views:
            raise UserError("views: the file of settings= names other ones; leave views or settings out.")
        return own


def read_tuned(config: DictConfig) -> TunedSettings:
    """Read the file that ``settings=`` names; nothing is set without one.

    Raises:
        UserError: It is missing, too large, no YAML, or holds something else; names the key.
    """
    if config.settings is None:
        return TunedSettings()
    path = Path(config.settings)
    try:
        if check_regular(path).stat().st_size > _MAXIMUM_BYTES:
            raise UserError(f"settings: '{path}' has more than {_MAXIMUM_BYTES} bytes.")
        text = path.read_text(encoding="utf-8-sig")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"settings: '{path}' has YAML aliases.")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"settings: '{path}' cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"settings: '{path}' is no YAML ({reason}).") from error
    try:
        return TunedSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"settings: '{path}': {where}: {first['msg']}; give a file that tune wrote, with inference and "
            "views."
        ) from error
