"""Reads and checks the index of a prepared dataset: ``panoptic.json`` and ``folds.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

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

from modise_lightning.data.prepared import (
    FOLDS_NAME,
    IMAGE_FOLDER,
    INDEX_NAME,
    MAXIMUM_SEGMENT_ID,
    PANOPTIC_FOLDER,
    PreparedEntry,
    PreparedSegment,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord


@dataclass(frozen=True)
class IndexedImage:
    """What the index says of an image.

    Attributes:
        entry: The image and its segments.
        id_map: File name of its id map.
        void_ids: Ids of its segments that are void (``iscrowd``).
        fold: Its cross-validation fold.
    """

    entry: PreparedEntry
    id_map: str
    void_ids: frozenset[int]
    fold: int


def read_index(root: Path, categories: Sequence[Category]) -> tuple[dict[str, Any], list[IndexedImage]]:
    """Read and check both files of a dataset's index.

    Args:
        root: The dataset's folder.
        categories: Configured categories; their names must be those of the dataset.

    Returns:
        What the dataset says of itself, and its images.

    Raises:
        UserError: Not a prepared dataset, or one that contradicts itself; names file and key.
    """
    if not (root / INDEX_NAME).is_file():
        raise UserError(
            f"data: '{root}' is not a prepared dataset (it has no {INDEX_NAME}). Make it with "
            "`python -m modise_lightning.prepare data=... data.raw=DOWNLOAD`, or give data.root."
        )
    index = _read(root / INDEX_NAME, _Index)
    folds = _fold_of_images(root / FOLDS_NAME, index)
    labels = _labels(root / INDEX_NAME, index.categories, categories)
    annotations = {annotation.image_id: annotation for annotation in index.annotations}
    for name, numbers in (
        ("images.id", [image.id for image in index.images]),
        ("images.file_name", [image.file_name for image in index.images]),
        ("annotations.image_id", [annotation.image_id for annotation in index.annotations]),
    ):
        _check_unique(root / INDEX_NAME, name, numbers)
    images = []
    for image in index.images:
        annotation = annotations.get(image.id)
        if annotation is None:
            raise UserError(f"data: '{root / INDEX_NAME}' has no annotation of image {image.file_name}.")
        for file in (root / IMAGE_FOLDER / image.file_name, root / PANOPTIC_FOLDER / annotation.file_name):
            if not file.is_file():
                raise UserError(f"data: '{file}' is missing. Prepare the dataset again.")
        entry, void_ids = _entry(root / INDEX_NAME, image, annotation, labels)
        images.append(IndexedImage(entry, annotation.file_name, void_ids, folds[image.file_name]))
    return index.info.model_dump(), images


def _plain_name(name: str) -> str:
    """Refuse names that lead out of their folder, on any system."""
    if name in ("", ".", "..") or any(character in name for character in "/\\:\0"):
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def _to_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_FileName = Annotated[str, AfterValidator(_plain_name)]
_PatientId = Annotated[str, BeforeValidator(_to_text), Field(min_length=1)]


class _Info(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str
    synthetic: StrictBool


class _Image(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | int | float]
    id: int
    file_name: _FileName
    width: PositiveInt
    height: PositiveInt
    patient_id: _PatientId


class _Segment(BaseModel):
    id: Annotated[int, Field(ge=1, le=MAXIMUM_SEGMENT_ID)]
    category_id: int
    area: NonNegativeInt
    bbox: tuple[int, int, int, int]
    iscrowd: Literal[0, 1] = 0


class _Annotation(BaseModel):
    image_id: int
    file_name: _FileName
    segments_info: list[_Segment]


class _FileCategory(BaseModel):
    id: int
    name: str


class _Index(BaseModel):
    info: _Info
    images: Annotated[list[_Image], Field(min_length=1)]
    annotations: list[_Annotation]
    categories: list[_FileCategory]


class _FoldOfImage(BaseModel):
    patient_id: _PatientId
    fold: NonNegativeInt


class _Folds(BaseModel):
    num_folds: PositiveInt
    images: dict[str, _FoldOfImage]


_Model = TypeVar("_Model", bound=BaseModel)


def _read(path: Path, model: type[_Model]) -> _Model:
    if not path.is_file():
        raise UserError(f"data: '{path}' is missing. Prepare the dataset again.")
    try:
        return model.model_validate_json(path.read_bytes())
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


def _check_unique(path: Path, key: str, values: Iterable[object]) -> None:
    value, count = Counter(values).most_common(1)[0]
    if count > 1:
        raise UserError(f"data: '{path}': {key}: {value!r} stands {count} times; it must be unique.")


def _labels(path: Path, found: Sequence[_FileCategory], categories: Sequence[Category]) -> dict[int, int]:
    """Map category ids of the file to class indices."""
    by_name = {category.name: index for index, category in enumerate(categories)}
    names = sorted(category.name for category in found)
    if names != sorted(by_name):
        raise UserError(
            f"data: the categories of '{path}' are {names}, those of data.categories {sorted(by_name)}. "
            "They must be the same."
        )
    _check_unique(path, "categories.id", [category.id for category in found])
    return {category.id: by_name[category.name] for category in found}


def _entry(
    path: Path, image: _Image, annotation: _Annotation, labels: Mapping[int, int]
) -> tuple[PreparedEntry, frozenset[int]]:
    record = ImageRecord(
        image_id=image.id,
        file_name=image.file_name,
        patient_id=image.patient_id,
        height=image.height,
        width=image.width,
    )
    if annotation.segments_info:
        name = f"segments_info.id of {image.file_name}"
        _check_unique(path, name, [segment.id for segment in annotation.segments_info])
    segments = []
    for segment in annotation.segments_info:
        if segment.category_id not in labels:
            raise UserError(
                f"data: '{path}': segment {segment.id} of {image.file_name} has the category_id "
                f"{segment.category_id}, which categories does not list."
            )
        if not segment.iscrowd:
            label = labels[segment.category_id]
            segments.append(PreparedSegment(segment.id, label, segment.area, segment.bbox))
    void_ids = frozenset(segment.id for segment in annotation.segments_info if segment.iscrowd)
    return PreparedEntry(record, tuple(segments), image.model_extra or {}), void_ids


def _fold_of_images(path: Path, index: _Index) -> dict[str, int]:
    """Check the folds against the images; no patient in two folds, no fold empty."""
    file = _read(path, _Folds)
    folds: dict[str, int] = {}
    fold_of_patient: dict[str, int] = {}
    for image in index.images:
        found = file.images.get(image.file_name)
        if found is None:
            raise UserError(f"data: '{path}' gives no fold of {image.file_name}. Prepare the dataset again.")
        if found.patient_id != image.patient_id:
            raise UserError(
                f"data: '{path}' says that {image.file_name} shows patient {found.patient_id}, "
                f"{INDEX_NAME} says {image.patient_id}. Prepare the dataset again."
            )
        if found.fold >= file.num_folds:
            raise UserError(
                f"data: '{path}' puts {image.file_name} into fold {found.fold} of {file.num_folds}."
            )
        if fold_of_patient.setdefault(image.patient_id, found.fold) != found.fold:
            raise UserError(f"data: '{path}' puts patient {image.patient_id} into more than one fold.")
        folds[image.file_name] = found.fold
    empty = sorted(set(range(min(file.num_folds, len(folds) + 1))) - set(folds.values()))
    if empty:
        raise UserError(f"data: '{path}': fold {empty[0]} of {file.num_folds} has no image.")
    return folds
