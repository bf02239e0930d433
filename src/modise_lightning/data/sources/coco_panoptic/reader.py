"""Opens a panoptic dataset that someone else made, in COCO's own layout; categories come from its file.

The layout: a JSON of images, annotations with ``segments_info`` and categories; a folder of id maps (PNG,
id = R + 256 G + 65536 B); a folder of images (https://cocodataset.org/#format-data, "Panoptic Segmentation").
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, PositiveInt

from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.index import folds_of_images, join_images, labels_of_category_ids
from modise_lightning.data.prepared.index_files import (
    Annotation,
    FileName,
    Id,
    Info,
    ListedImage,
    check_unique,
    read_json,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import Category

_GOLDEN_RATIO = 0.618033988749895  # turns of the hue between one colour and the next, which keeps them apart


class _CocoImage(BaseModel):
    model_config = {"extra": "allow"}
    id: Id
    file_name: FileName
    width: PositiveInt
    height: PositiveInt


def _no_interpolation(name: str) -> str:
    """Refuse what the configuration, which takes the names, would read as a reference."""
    if "${" in name:
        raise ValueError(f"{name!r} holds '${{'")
    return name


class _CocoCategory(BaseModel):
    id: int
    name: Annotated[str, Field(min_length=1), AfterValidator(_no_interpolation)]
    isthing: bool
    color: tuple[int, int, int] | None = None


class _CocoIndex(BaseModel):
    info: Info = Info()
    images: Annotated[list[_CocoImage], Field(min_length=1)]
    annotations: list[Annotation]
    categories: Annotated[list[_CocoCategory], Field(min_length=1)]


def open_coco_panoptic(
    *,
    root: str,
    name: str,
    synthetic: bool,
    annotations: str,
    id_maps: str,
    images: str,
    categories: Sequence[Mapping[str, Any]] | None,
    prompts: Mapping[str, Sequence[str]],
    unlabelled_is_void: bool,
    patient_key: str | None,
    folds: str | None,
    num_folds: int,
    fold_seed: int,
    channels: Literal["grey", "rgb"] = "grey",
) -> PreparedDataset:
    """Open a dataset in COCO's panoptic layout.

    Args:
        root: Its folder; the next three are relative to it.
        name: What the dataset is called in tables and pictures.
        synthetic: Whether its images show no real patients.
        annotations: The JSON file.
        id_maps: Folder of the PNG id maps.
        images: Folder of the images (PNG, JPEG, TIFF).
        categories: Configured categories, whose names must be the file's; None takes the file's own.
        prompts: Texts for text classification of some or all of the file's categories; of the others their
            name is the only one. Not with ``categories``, which have their own.
        unlabelled_is_void: Whether pixels of no segment are void, as in COCO, or background.
        patient_key: Key of the file's images that tells their patient, so that no patient is in two folds;
            None takes each image for one of its own.
        folds: File of the folds (in the layout of ``prepare``), relative to the root; None makes them.
        num_folds: How many are made.
        fold_seed: What they are made with.
        channels: Whether the network sees colours (``rgb``) or their luminance (``grey``). Pictures that are
            drawn show luminance.

    Raises:
        UserError: The folder is in another layout, contradicts itself or misses a file; names file and key.
    """
    folder = Path(root)
    path = folder / annotations
    if not path.is_file():
        raise UserError(
            f"data: no file '{path}'. Give the dataset's folder as data.root, and in it the JSON file as "
            "data.annotations, the id maps as data.id_maps and the images as data.images."
        )
    index = read_json(path, _CocoIndex)
    check_unique(path, "categories.id", [category.id for category in index.categories])
    check_unique(path, "categories.name", [category.name for category in index.categories])
    check_unique(path, "images.id", [image.id for image in index.images])
    check_unique(path, "images.file_name", [image.file_name for image in index.images])
    found = _categories(path, index.categories, prompts) if categories is None else None
    known = found or categories_from_config(categories or [])
    names = {category.id: category.name for category in index.categories}
    labels = labels_of_category_ids(path, names, known)
    patients = {image.file_name: _patient(path, image, patient_key) for image in index.images}
    if folds is None:
        strata = _strata(index)
        image_ids = [image.id for image in index.images]
        assigned = assign_folds(list(patients.values()), [strata[i] for i in image_ids], num_folds, fold_seed)
        fold_of_image = dict(zip(patients, assigned, strict=True))
    else:
        fold_of_image = folds_of_images(folder / folds, patients)
    joined = join_images(
        path,
        [
            ListedImage.model_validate(
                _plain(image.model_extra or {})
                | image.model_dump(include={"id", "file_name", "width", "height"})
                | {"patient_id": patients[image.file_name]}
            )
            for image in index.images
        ],
        index.annotations,
        labels,
        fold_of_image,
        image_folder=folder / images,
        id_map_folder=folder / id_maps,
    )
    return PreparedDataset(
        root=folder,
        index=path,
        image_folder=folder / images,
        id_map_folder=folder / id_maps,
        info={**index.info.model_dump(exclude_unset=True), "name": name, "synthetic": synthetic},
        categories=tuple(known),
        images=joined,
        unlabelled_is_void=unlabelled_is_void,
        channels=channels,
    )


def _categories(
    path: Path, found: Sequence[_CocoCategory], prompts: Mapping[str, Sequence[str]]
) -> tuple[Category, ...]:
    """Make categories of the file's, in its order."""
    unknown = sorted(set(prompts) - {category.name for category in found})
    if unknown:
        raise UserError(f"data.prompts: '{unknown[0]}' is no category of '{path}'.")
    return categories_from_config(
        [
            {
                "name": category.name,
                "prompts": list(prompts.get(category.name, [category.name])),
                "isthing": category.isthing,
                "color": list(category.color or _color(number)),
            }
            for number, category in enumerate(found)
        ]
    )


def _color(number: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1, 0.75, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _patient(path: Path, image: _CocoImage, key: str | None) -> str:
    if key is None:
        return image.file_name
    value = (image.model_extra or {}).get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(
            f"data.patient_key: the image {image.file_name} of '{path}' has no text or number '{key}'."
        )
    return str(value)


def _strata(index: _CocoIndex) -> dict[int, str]:
    """Give each image id its most frequent category (the first of equally frequent ones)."""
    strata = dict.fromkeys((image.id for image in index.images), "none")
    for annotation in index.annotations:
        counts = Counter(segment.category_id for segment in annotation.segments_info)
        if counts:
            strata[annotation.image_id] = str(counts.most_common(1)[0][0])
    return strata


def _plain(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what an index can hold beside an image's own keys."""
    return {key: value for key, value in extra.items() if isinstance(value, str | int | float)}
