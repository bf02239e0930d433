"""The settings of a prediction of many images, checked before anything slow starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.prediction.exams import ExamNames
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.lesions import LesionSettings
from modise_lightning.prediction.tables.files import check_parquet

_Positive = Annotated[int, Field(ge=1, strict=True)]
_NotNegative = Annotated[int, Field(ge=0, strict=True)]
Export = Literal["coco", "contact_sheet", "gallery", "parquet", "dicom_seg", "dicom_sr"]


class RunSettings(BaseModel):
    """What ``predict`` is told beside the model; ``conf/predict.yaml`` explains each."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    input: StrictStr | list[StrictStr]
    output_dir: StrictStr
    recursive: StrictBool
    white: Literal["auto"] | Annotated[int, Field(ge=1, le=65535, strict=True)]
    for_processing: Literal["refuse", "convert"]
    frame: _Positive | None
    identifiers: Literal["remove", "keep"]
    export: list[Export]
    contact_sheet_images: _NotNegative
    gallery_images: _Positive
    batch_size: _Positive
    num_workers: _NotNegative
    num_writers: _Positive
    num_threads: _Positive | None
    shards: _Positive
    shard: _NotNegative
    names: ExamNames
    class_codes: list[dict[str, str]]
    lesions: LesionSettings
    archive: ArchiveLimits

    @property
    def inputs(self) -> Sequence[str]:
        """The inputs, also where there is one."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.output_dir)

    @property
    def dicom_kinds(self) -> list[str]:
        """Which DICOM objects are written."""
        return [kind for kind in self.export if kind.startswith("dicom_")]

    @property
    def keeps_identifiers(self) -> bool:
        """Whether results may say whose images they are of."""
        return self.identifiers == "keep"


def read_settings(config: Mapping[str, Any]) -> RunSettings:
    """Check the settings.

    Args:
        config: Plain values of the whole configuration.

    Raises:
        UserError: Names the first setting that is wrong.
    """
    plain = {name: value for name, value in config.items() if name in RunSettings.model_fields}
    names = ExamNames(_group(config, "exams").get("pattern"))
    try:
        settings = RunSettings.model_validate({**plain, "names": names})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[str]"))
        raise UserError(f"{key}: found {first['input']!r}: {first['msg']}.") from error
    if settings.shard >= settings.shards:
        raise UserError(f"shard: {settings.shard} is none of the shards 0 to {settings.shards - 1}.")
    if not settings.inputs:
        raise UserError("input: the list is empty.")
    if settings.dicom_kinds:
        _check_dicom_results(settings)
    if "parquet" in settings.export:
        check_parquet()
    return settings


def _check_dicom_results(settings: RunSettings) -> None:
    if find_spec("highdicom") is None:
        raise UserError(
            "export: dicom_seg and dicom_sr are written by highdicom, which is not installed; "
            "pip install 'modise-lightning[dicom]'."
        )
    names = {"contains", "value", "scheme", "meaning"}
    for number, code in enumerate(settings.class_codes):
        if set(code) != names:
            raise UserError(f"class_codes[{number}]: found {sorted(code)}; needed are {sorted(names)}.")
    if not settings.class_codes or settings.class_codes[-1]["contains"]:
        raise UserError("class_codes: the last one must fit every class (contains: '').")


def _group(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config[key]
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: a group of settings is expected, found {value!r}.")
    return value
