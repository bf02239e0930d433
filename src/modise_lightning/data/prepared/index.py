"""Reads and checks the index of a prepared dataset: ``panoptic.json`` and ``folds.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modise_lightning.data.prepared.image_description import describe_image
from modise_lightning.data.prepared.index_files import (
    Annotation,
    Folds,
    Index,
    ListedImage,
    check_unique,
    read_json,
)
from modise_lightning.data.prepared.writing import (
    FOLDS_NAME,
    IMAGE_FOLDER,
    INDEX_NAME,
    MAXIMUM_SEGMENTS,
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
        crowd_labels: Class index of each id whose segment is a crowd region (``iscrowd``), which is void.
        fold: Its cross-validation fold.
    """

    entry: PreparedEntry
    id_map: str
    crowd_labels: Mapping[int, int]
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
    index = read_json(root / INDEX_NAME, Index)
    folds = folds_of_images(root / FOLDS_NAME, {image.file_name: image.patient_id for image in index.images})
    names = {category.id: category.name for category in index.categories}
    check_unique(root / INDEX_NAME, "categories.id", [category.id for category in index.categories])
    images = join_images(
        root / INDEX_NAME,
        index.images,
        index.annotations,
        labels_of_category_ids(root / INDEX_NAME, names, categories),
        folds,
        image_folder=root / IMAGE_FOLDER,
        id_map_folder=root / PANOPTIC_FOLDER,
        source=index.info.name,
    )
    return index.info.model_dump(exclude_unset=True), images


def join_images(
    path: Path,
    images: Sequence[ListedImage],
    annotations: Sequence[Annotation],
    labels: Mapping[int, int],
    folds: Mapping[str, int],
    *,
    image_folder: Path,
    id_map_folder: Path,
    source: str | None = None,
) -> list[IndexedImage]:
    """Join the parts of an index, and check that its files are there.

    Args:
        path: The index, for messages.
        images: Its images.
        annotations: Their segments.
        labels: Class index of each category id.
        folds: Fold of each image's file name.
        image_folder: Folder of the images.
        id_map_folder: Folder of the id maps.
        source: The dataset's name, if it says one.

    Raises:
        UserError: An id or name stands twice, or something is missing; names it.
    """
    for name, numbers in (
        ("images.id", [image.id for image in images]),
        ("images.file_name", [image.file_name for image in images]),
        ("annotations.image_id", [annotation.image_id for annotation in annotations]),
    ):
        check_unique(path, name, numbers)
    of_image = {annotation.image_id: annotation for annotation in annotations}
    joined = []
    for image in images:
        annotation = of_image.get(image.id)
        if annotation is None:
            raise UserError(f"data: '{path}' has no annotation of image {image.file_name}.")
        for file in (image_folder / image.file_name, id_map_folder / annotation.file_name):
            if not file.is_file():
                raise UserError(f"data: '{file}' is missing. Prepare or download the dataset again.")
        entry, crowd_labels = _entry(path, image, annotation, labels)
        fold = folds[image.file_name]
        entry = replace(entry, record=replace(entry.record, source=source, fold=fold))
        joined.append(IndexedImage(entry, annotation.file_name, crowd_labels, fold))
    return joined


def labels_of_category_ids(
    path: Path, names_of_ids: Mapping[int, str], categories: Sequence[Category]
) -> dict[int, int]:
    """Map category ids of an index to class indices.

    Args:
        path: The index, for messages.
        names_of_ids: Name of each category id in it.
        categories: Configured categories.

    Raises:
        UserError: Their names are not the same.
    """
    by_name = {category.name: index for index, category in enumerate(categories)}
    names = sorted(names_of_ids.values())
    if names != sorted(by_name):
        raise UserError(
            f"data: the categories of '{path}' are {names}, those of data.categories {sorted(by_name)}. "
            "They must be the same."
        )
    return {category_id: by_name[name] for category_id, name in names_of_ids.items()}


def _entry(
    path: Path, image: ListedImage, annotation: Annotation, labels: Mapping[int, int]
) -> tuple[PreparedEntry, dict[int, int]]:
    record = ImageRecord(
        image_id=image.id,
        file_name=image.file_name,
        patient_id=image.patient_id,
        height=image.height,
        width=image.width,
        **describe_image(image.model_extra or {}),
    )
    if len(annotation.segments_info) > MAXIMUM_SEGMENTS:
        raise UserError(
            f"data: '{path}': {image.file_name} has {len(annotation.segments_info)} segments, more than "
            f"{MAXIMUM_SEGMENTS}. Leave the image out, or merge segments."
        )
    if annotation.segments_info:
        name = f"segments_info.id of {image.file_name}"
        check_unique(path, name, [segment.id for segment in annotation.segments_info])
    segments: list[PreparedSegment] = []
    crowd_labels: dict[int, int] = {}
    for segment in annotation.segments_info:
        if segment.category_id not in labels:
            raise UserError(
                f"data: '{path}': segment {segment.id} of {image.file_name} has the category_id "
                f"{segment.category_id}, which categories does not list."
            )
        label = labels[segment.category_id]
        if segment.iscrowd:
            crowd_labels[segment.id] = label
        else:
            segments.append(PreparedSegment(segment.id, label, segment.area, segment.bbox))
    return PreparedEntry(record, tuple(segments), image.model_extra or {}), crowd_labels


def folds_of_images(path: Path, patients: Mapping[str, str]) -> dict[str, int]:
    """Read folds and check them against the images; no patient in two folds, no fold empty.

    Args:
        path: The file of the folds.
        patients: Patient of each image's file name.

    Raises:
        UserError: They do not fit.
    """
    file = read_json(path, Folds)
    folds: dict[str, int] = {}
    fold_of_patient: dict[str, int] = {}
    for file_name, patient in patients.items():
        found = file.images.get(file_name)
        if found is None:
            raise UserError(f"data: '{path}' gives no fold of {file_name}. Prepare the dataset again.")
        if found.patient_id != patient:
            raise UserError(
                f"data: '{path}' says that {file_name} shows patient {found.patient_id}, "
                f"{INDEX_NAME} says {patient}. Prepare the dataset again."
            )
        if found.fold >= file.num_folds:
            raise UserError(f"data: '{path}' puts {file_name} into fold {found.fold} of {file.num_folds}.")
        if fold_of_patient.setdefault(patient, found.fold) != found.fold:
            raise UserError(f"data: '{path}' puts patient {patient} into more than one fold.")
        folds[file_name] = found.fold
    empty = sorted(set(range(min(file.num_folds, len(folds) + 1))) - set(folds.values()))
    if empty:
        raise UserError(f"data: '{path}': fold {empty[0]} of {file.num_folds} has no image.")
    return folds
