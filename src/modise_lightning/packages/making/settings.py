"""Checks the settings of the command that makes packages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from modise_lightning.reporting.cross_validation.settings import ComparisonSettings, RunSettings


class PackageSettings(RunSettings):
    """What ``conf/package.yaml`` composes, and explains."""

    comparison: ComparisonSettings
    output: str
    test_fold: Annotated[int, Field(ge=0)] | None
    settings: str | None
    licence: Annotated[str, Field(max_length=100)] | None
    remarks: list[Annotated[str, Field(max_length=1000)]]
    push: str | None
    private: bool
    overrides: dict[str, Any]
    trusted_targets: list[str]
