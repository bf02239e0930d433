"""Checks the settings of reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modise_lightning.reporting.cross_validation.settings import ComparisonSettings
from modise_lightning.reporting.figures.settings import CurveName, CurveSettings


class GallerySettings(BaseModel):
    """Of the pictures of test images."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_images: Annotated[int, Field(ge=0, le=2000)]
    longest_side: Annotated[int, Field(ge=64, le=4096)]
    quality: Annotated[int, Field(ge=1, le=100)]
    device: str
    overrides: dict[str, Any]
    trusted_targets: list[str]


class ReportSettings(CurveSettings):
    """What ``conf/report.yaml`` composes; its own values are explained there."""

    figures: list[CurveName]
    clinical_figures: list[Literal["roc", "strata"]]
    comparison: ComparisonSettings
    gallery: GallerySettings
