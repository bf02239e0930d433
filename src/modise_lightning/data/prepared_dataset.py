"""Reads and checks prepared datasets in the COCO panoptic layout, whoever made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.data.images import read_image_file
from modise_lightning.data.prepared import (
    FOLDS_NAME,
    IMAGE_FOLDER,
    INDEX_NAME,
    PANOPTIC_FOLDER,
    PreparedEntry,
    PreparedSegment,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord, PanopticSegmentation


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset on disk.

    Attributes:
        root: Its folder.
        info: What it says of itself (name, synthetic, description, license, ...).
        categories: In the order of their class indices.
        entries: All images.
        folds: Fold of each image.
        void_ids: For each image, the ids of its segments that are void.
    """

    root: Path
    info: dict[str, Any]
    categories: tuple[Category, ...]
    entries: list[PreparedEntry]
    folds: list[int]
    void_ids: list[frozenset[int]]

    @classmethod
    def open(cls, root: Path, categories: Sequence[Category]) -> PreparedDataset:
        """Read and check the index of a dataset.

        Args:
            root: The dataset's folder.
            categories: Configured categories; their names must be those of the dataset.

        Raises:
            UserError: Not a prepared dataset, or one that contradicts itself; names file and key.
        """
        if not (root / INDEX_NAME).is_file():
            raise UserError(
                f"data: '{root}' is not a prepared dataset (it has no {INDEX_NAME}). Make it with "
                "`python -m modise_lightning.prepare data=... data.raw=DOWNLOAD`, or give data.root."
            )
        index, folds_file = _read_json(root / INDEX_NAME), _read_json(root / FOLDS_NAME)
        try:
            classes = _class_indices(root, index["categories"], categories)
            entries, void_ids = _entries(root, index, classes)
            folds = _folds(root, folds_file, entries)
            info = dict(index["info"])
            for key in ("name", "synthetic"):
                info[key]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"data: '{root / INDEX_NAME}' is not in the prepared layout ({reason}).") from error
        return cls(root, info, tuple(categories), entries, folds, void_ids)

    @property
    def records(self) -> list[ImageRecord]:
        """Where each image comes from."""
        return [entry.record for entry in self.entries]

    @property
    def note(self) -> str | None:
        """The line that pictures and tables of this dataset carry."""
        if self.info["synthetic"]:
            return "Synthetic phantom images, not patients."
        return self.info.get("attribution")

    def segment_labels(self, index: int) -> list[int]:
        """Give the class index of each segment of an image."""
        return [segment.label for segment in self.entries[index].segments]

    def read_image(self, index: int) -> NDArray[np.float32]:
        """Read an image.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            UserError: It cannot be read, or has another size than the index says.
        """
        record = self.entries[index].record
        path = self.root / IMAGE_FOLDER / record.file_name
        image = read_image_file(path)
        _check_size(path, image.shape, record)
        return image

    def read_target(self, index: int) -> PanopticSegmentation:
        """Read an image's ground truth.

        Raises:
            UserError: It cannot be read, or does not fit the index.
        """
        entry = self.entries[index]
        path = self.root / PANOPTIC_FOLDER / entry.record.file_name
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
        if pixels is None:
            raise UserError(f"data: the id map '{path}' is missing or unreadable. Prepare the dataset again.")
        _check_size(path, pixels.shape[:2], entry.record)
        blue, green, red = (pixels[..., channel].astype(np.int64) for channel in range(3))
        ids = red + 256 * green + 65536 * blue
        segment_ids = np.zeros_like(ids)
        known = np.zeros(ids.shape, dtype=bool)
        for position, segment in enumerate(entry.segments, start=1):
            mask = ids == segment.id
            segment_ids[mask] = position
            known |= mask
        for void_id in self.void_ids[index]:
            mask = ids == void_id
            segment_ids[mask] = -1
            known |= mask
        if (ids[~known] != 0).any():
            raise UserError(f"data: the id map '{path}' holds ids that {INDEX_NAME} does not. Prepare it again.")
        labels = torch.tensor(self.segment_labels(index), dtype=torch.int64)
        return PanopticSegmentation(torch.from_numpy(segment_ids), labels)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"data: '{path}' is missing. Prepare the dataset again.")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"data: '{path}' is not readable JSON ({error}). Prepare the dataset again.") from error
    if not isinstance(content, dict):
        raise UserError(f"data: '{path}' holds no JSON object. Prepare the dataset again.")
    return content


def _class_indices(
    root: Path, found: Sequence[Mapping[str, Any]], categories: Sequence[Category]
) -> dict[int, int]:
    """Map category ids of the file to class indices."""
    by_name = {category.name: index for index, category in enumerate(categories)}
    names = [category["name"] for category in found]
    if sorted(names) != sorted(by_name):
        raise UserError(
            f"data: the categories of '{root / INDEX_NAME}' are {sorted(names)}, those of data.categories "
            f"{sorted(by_name)}. They must be the same."
        )
    return {int(category["id"]): by_name[category["name"]] for category in found}


def _entries(
    root: Path, index: Mapping[str, Any], classes: Mapping[int, int]
) -> tuple[list[PreparedEntry], list[frozenset[int]]]:
    annotations = {annotation["image_id"]: annotation for annotation in index["annotations"]}
    entries, void_ids = [], []
    for image in index["images"]:
        name = image["file_name"]
        if not isinstance(name, str) or Path(name).name != name:
            raise UserError(f"data: '{root / INDEX_NAME}' names the image {name!r}, which is not a plain file name.")
        for folder in (IMAGE_FOLDER, PANOPTIC_FOLDER):
            if not (root / folder / name).is_file():
                raise UserError(f"data: '{root / folder / name}' is missing. Prepare the dataset again.")
        if image["id"] not in annotations:
            raise UserError(f"data: '{root / INDEX_NAME}' has no annotation of image {name}.")
        record = ImageRecord(
            image_id=int(image["id"]),
            file_name=name,
            patient_id=str(image["patient_id"]),
            height=int(image["height"]),
            width=int(image["width"]),
        )
        segments, void = [], set()
        for segment in annotations[image["id"]]["segments_info"]:
            if segment["category_id"] not in classes:
                raise UserError(
                    f"data: '{root / INDEX_NAME}' gives a segment of {name} the category id "
                    f"{segment['category_id']}, which it does not list."
                )
            if segment.get("iscrowd", 0):
                void.add(int(segment["id"]))
                continue
            x, y, width, height = (int(value) for value in segment["bbox"])
            label = classes[segment["category_id"]]
            segments.append(PreparedSegment(int(segment["id"]), label, int(segment["area"]), (x, y, width, height)))
        known = {"id", "file_name", "width", "height", "patient_id"}
        attributes = {key: value for key, value in image.items() if key not in known}
        entries.append(PreparedEntry(record, tuple(segments), attributes))
        void_ids.append(frozenset(void))
    if not entries:
        raise UserError(f"data: '{root / INDEX_NAME}' lists no images.")
    return entries, void_ids


def _folds(root: Path, folds_file: Mapping[str, Any], entries: Sequence[PreparedEntry]) -> list[int]:
    folds, fold_of_patient = [], dict[str, int]()
    for entry in entries:
        record = entry.record
        if record.file_name not in folds_file["images"]:
            raise UserError(f"data: '{root / FOLDS_NAME}' gives no fold of {record.file_name}. Prepare it again.")
        fold = int(folds_file["images"][record.file_name]["fold"])
        if not 0 <= fold < folds_file["num_folds"]:
            raise UserError(f"data: '{root / FOLDS_NAME}' puts {record.file_name} into fold {fold}, out of range.")
        if fold_of_patient.setdefault(record.patient_id, fold) != fold:
            raise UserError(f"data: '{root / FOLDS_NAME}' puts patient {record.patient_id} into more than one fold.")
        folds.append(fold)
    return folds


def _check_size(path: Path, shape: tuple[int, ...], record: ImageRecord) -> None:
    if shape != (record.height, record.width):
        raise UserError(
            f"data: '{path}' is {shape[0]} x {shape[1]} pixels, {INDEX_NAME} says {record.height} x {record.width}."
        )
