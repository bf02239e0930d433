"""The settings of the page, checked before a model is loaded."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.prediction.folders.run_settings import RunSettings, read_settings

_Positive = Annotated[int, Field(ge=1, strict=True)]
_Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Checked):
    """What may be uploaded, and how long it stays."""

    files: _Positive
    file_bytes: _Positive
    exam_bytes: _Positive
    exams: _Positive
    minutes: _Positive


class ShownLesions(_Checked):
    """Which masks the page shows."""

    minimum_score: _Share
    score: _Share
    overlap: _Share


class ServeSettings(BaseModel):
    """What ``conf/serve.yaml`` explains."""

    model_config = ConfigDict(frozen=True)

    host: StrictStr
    port: Annotated[int, Field(ge=0, le=65535, strict=True)]
    token: Annotated[str, Field(min_length=8, strict=True)] | None
    allowed_hosts: list[StrictStr]
    lesions: ShownLesions
    limits: Limits
    batch_size: _Positive
    num_threads: _Positive | None
    reading: dict[str, Any]

    @property
    def is_local(self) -> bool:
        """Whether the page can be reached from this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def run_settings(self, folder: str, results: str) -> RunSettings:
        """Say how the images of an exam are predicted.

        Args:
            folder: Of what was uploaded.
            results: A folder for the results.
        """
        return read_settings({**self.reading, "input": folder, "output_dir": results})


def read_serve_settings(config: Mapping[str, Any]) -> ServeSettings:
    """Check the settings.

    Args:
        config: Plain values of the whole configuration.

    Raises:
        UserError: Names the first setting that is wrong.
    """
    lesions = config["lesions"] if isinstance(config["lesions"], Mapping) else {}
    reading = {
        **{key: config[key] for key in ("white", "for_processing", "frame", "exams", "class_codes")},
        **{key: config[key] for key in ("archive", "batch_size", "num_threads")},
        **{
            "recursive": True,
            "identifiers": "remove",
            "export": [],
            "contact_sheet_images": 0,
            "gallery_images": 1,
        },
        **{"num_workers": 0, "num_writers": 1, "shards": 1, "shard": 0},
        "lesions": {
            "source": "instances",
            "minimum_score": lesions.get("minimum_score", 0.0),
            "uncertainty": True,
        },
    }
    known = {key: value for key, value in config.items() if key in ServeSettings.model_fields}
    try:
        settings = ServeSettings.model_validate({**known, "reading": reading})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{key}: found {first['input']!r}: {first['msg']}.") from error
    settings.run_settings("", "")  # what is wrong with the others is told now
    return settings
