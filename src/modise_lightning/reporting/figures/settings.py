"""Checks the settings of figures."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from modise_lightning.reporting.cross_validation.settings import RunSettings
from modise_lightning.reporting.figures.files import FigureFormat
from modise_lightning.reporting.figures.model_records import FoldPooling

CurveName = Literal[
    "threshold_ablation", "precision_recall", "froc", "calibration", "confusion", "roc", "strata"
]
FigureName = Literal[CurveName, "qualitative_grid"]
_Threshold = Annotated[float, Field(gt=0, lt=1)]


def _rising(values: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError("the values have to rise")
    return values


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PrecisionRecallSettings(_Settings):
    """Of the precision-recall curves."""

    thresholds: Annotated[list[_Threshold], Field(min_length=1, max_length=6), AfterValidator(_rising)]


class FrocSettings(_Settings):
    """Of the FROC curves."""

    threshold: _Threshold
    operating_points: Annotated[
        list[Annotated[float, Field(gt=0, le=1000)]],
        Field(min_length=2, max_length=20),
        AfterValidator(_rising),
    ]


class CalibrationSettings(_Settings):
    """Of the reliability diagrams."""

    threshold: _Threshold | None
    num_bins: Annotated[int, Field(ge=1, le=100)]
    least_score: Annotated[float, Field(ge=0, lt=1)]


class ConfusionSettings(_Settings):
    """Of the confusion of classes."""

    threshold: Annotated[float, Field(ge=0, lt=1)] | None


class QualitativeGridSettings(_Settings):
    """Of the qualitative grids."""

    images: Annotated[list[int], Field(min_length=1, max_length=12)] | None
    best: Annotated[int, Field(ge=0, le=4)]
    median: Annotated[int, Field(ge=0, le=4)]
    worst: Annotated[int, Field(ge=0, le=4)]
    device: str
    overrides: dict[str, Any]
    trusted_targets: list[str]

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.images is None and self.best + self.median + self.worst == 0:
            raise ValueError("best, median and worst are all 0: no image would be shown")
        return self


class CurveSettings(RunSettings):
    """Of the figures that are drawn from results and records; each value is explained in ``conf/curves``."""

    folds: FoldPooling
    max_detections: Annotated[int, Field(ge=1)]
    precision_recall: PrecisionRecallSettings
    froc: FrocSettings
    calibration: CalibrationSettings
    confusion: ConfusionSettings


class FigureSettings(CurveSettings):
    """What ``conf/figures.yaml`` composes; its own values are explained there."""

    figures: Annotated[list[FigureName], Field(min_length=1)]
    formats: Annotated[list[FigureFormat], Field(min_length=1)]
    qualitative_grid: QualitativeGridSettings
