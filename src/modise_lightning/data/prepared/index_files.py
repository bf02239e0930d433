"""What the files of an index must hold, and how they are read: the parts of COCO's panoptic JSON."""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictBool,
    ValidationError,
)

from modise_lightning.data.prepared.writing import MAXIMUM_SEGMENT_ID
from modise_lightning.errors import UserError

_LONGEST_FILE_NAME = 255  # bytes


def _plain_name(name: str) -> str:
    """Refuse names that lead out of their folder, on any system."""
    if name in ("", ".", "..") or any(character in name for character in "/\\:\0"):
        raise ValueError(f"{name!r} is not a plain file name")
    if len(name.encode()) > _LONGEST_FILE_NAME:
        raise ValueError("a file name is longer than file systems allow")
    return name


def _to_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_whole(value: object) -> object:
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


FileName = Annotated[str, AfterValidator(_plain_name)]
# Others write pixel counts and boxes as fractions too.
_Whole = Annotated[int, BeforeValidator(_to_whole)]
# Tables and tensors hold ids as 64-bit integers.
Id = Annotated[int, Field(ge=0, le=10**18 - 1)]
_PatientId = Annotated[str, BeforeValidator(_to_text), Field(min_length=1)]


class Info(BaseModel):
    """What an index says of its dataset; whatever else it says is kept."""

    model_config = ConfigDict(extra="allow")
    attribution: str | None = None


class _PreparedInfo(Info):
    name: str
    synthetic: StrictBool


class ListedImage(BaseModel):
    """What an index says of an image; plain values beside these keys are kept as attributes."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | int | float]
    id: Id
    file_name: FileName
    width: PositiveInt
    height: PositiveInt
    patient_id: _PatientId


class _Segment(BaseModel):
    id: Annotated[int, Field(ge=1, le=MAXIMUM_SEGMENT_ID)]
    category_id: int
    area: Annotated[_Whole, Field(ge=0)]
    bbox: tuple[_Whole, _Whole, _Whole, _Whole]
    iscrowd: Literal[0, 1] = 0


class Annotation(BaseModel):
    """What an index says of an image's segments, as in COCO."""

    image_id: Id
    file_name: FileName
    segments_info: list[_Segment]


class _FileCategory(BaseModel):
    id: int
    name: str


class Index(BaseModel):
    """What ``panoptic.json`` holds."""

    info: _PreparedInfo
    images: Annotated[list[ListedImage], Field(min_length=1)]
    annotations: list[Annotation]
    categories: list[_FileCategory]


class _FoldOfImage(BaseModel):
    patient_id: _PatientId
    fold: NonNegativeInt


class Folds(BaseModel):
    """What ``folds.json`` holds."""

    num_folds: PositiveInt
    images: dict[str, _FoldOfImage]


Model = TypeVar("Model", bound=BaseModel)


def read_json(path: Path, model: type[Model]) -> Model:
    """Read a file of an index.

    Raises:
        UserError: It is missing, no JSON, or not as the model says; names the key.
    """
    if not path.is_file():
        raise UserError(f"data: '{path}' is missing. Prepare the dataset again.")
    try:
        return model.model_validate_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise UserError(f"data: '{path}' cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise UserError(
                f"data: '{path}' is not readable JSON ({first['msg']}). Prepare the dataset again."
            ) from error
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"data: '{path}' is not in the prepared layout ({key}: {first['msg']}). "
            "Prepare the dataset again."
        ) from error


def check_unique(path: Path, key: str, values: Iterable[object]) -> None:
    """Check that no value stands twice.

    Raises:
        UserError: One does.
    """
    for value, count in Counter(values).most_common(1):
        if count == 1:
            break
        raise UserError(f"data: '{path}': {key}: {value!r} stands {count} times; it must be unique.")
