"""Reads prepared datasets in the COCO panoptic layout, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from modise_lightning.data.images.colours import read_colours
from modise_lightning.data.images.reading import MAXIMUM_PIXELS, ORIENTATION, read_image_file, upright
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.index import IndexedImage, read_index
from modise_lightning.data.prepared.writing import IMAGE_FOLDER, INDEX_NAME, PANOPTIC_FOLDER, PreparedEntry
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import Category, ImageRecord, PanopticSegmentation

_VOID = -1
_UNLISTED = -2  # an id in the map that the index does not know


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset on disk.

    Attributes:
        root: Its folder.
        index: The file that lists its images.
        image_folder: Folder of the images.
        id_map_folder: Folder of the id maps.
        info: What it says of itself (name, synthetic, description, license, ...).
        categories: In the order of their class indices.
        images: What its index says of each image.
        unlabelled_is_void: Whether pixels of no segment are void, as in COCO, or background, as in lesion
            datasets.
        channels: What the network sees of an image: its grey values, or its colours.
    """

    root: Path
    index: Path
    image_folder: Path
    id_map_folder: Path
    info: dict[str, Any]
    categories: tuple[Category, ...]
    images: list[IndexedImage]
    unlabelled_is_void: bool
    channels: Literal["grey", "rgb"] = "grey"

    @classmethod
    def open(
        cls,
        root: Path,
        categories: Sequence[Category],
        unlabelled_is_void: bool = False,
        channels: Literal["grey", "rgb"] = "grey",
    ) -> PreparedDataset:
        """Read and check the index of a dataset.

        Args:
            root: The dataset's folder.
            categories: Configured categories; their names must be those of the dataset.
            unlabelled_is_void: Whether pixels of no segment are void (COCO) or background.
            channels: What the network sees of an image: its grey values, or its colours.

        Raises:
            UserError: Not a prepared dataset, or one that contradicts itself; names file and key.
        """
        info, images = read_index(root, categories)
        return cls(
            root=root,
            index=root / INDEX_NAME,
            image_folder=root / IMAGE_FOLDER,
            id_map_folder=root / PANOPTIC_FOLDER,
            info=info,
            categories=tuple(categories),
            images=images,
            unlabelled_is_void=unlabelled_is_void,
            channels=channels,
        )

    @cached_property
    def entries(self) -> list[PreparedEntry]:
        """All images with their segments."""
        return [image.entry for image in self.images]

    @cached_property
    def records(self) -> list[ImageRecord]:
        """Where each image comes from."""
        return [image.entry.record for image in self.images]

    @cached_property
    def folds(self) -> list[int]:
        """Fold of each image."""
        return [image.fold for image in self.images]

    @property
    def note(self) -> str | None:
        """The line that pictures and tables of this dataset carry."""
        if self.info["synthetic"]:
            return "Synthetic phantom images, not patients."
        return self.info.get("attribution")

    def segment_labels(self, index: int) -> list[int]:
        """Give the class index of each segment of an image."""
        return [segment.label for segment in self.images[index].entry.segments]

    def read_image(self, index: int) -> NDArray[np.float32]:
        """Read an image.

        Returns:
            (H, W) float32 in [0, 1].

        Raises:
            UserError: It cannot be read, or has another size than the index says.
        """
        record = self.images[index].entry.record
        path = self.image_folder / record.file_name
        image = read_image_file(path)
        self._check_size(path, image.shape, record)
        return image

    def read_input(self, index: int) -> NDArray[np.float32]:
        """Read what the network sees of an image.

        Returns:
            (H, W) float32 in [0, 1], or (H, W, 3) in colours.

        Raises:
            UserError: It cannot be read, or has another size than the index says.
        """
        if self.channels == "grey":
            return self.read_image(index)
        record = self.images[index].entry.record
        path = self.image_folder / record.file_name
        image = read_colours(path)
        self._check_size(path, image.shape[:2], record)
        return image

    def read_target(self, index: int) -> PanopticSegmentation:
        """Read an image's ground truth.

        Raises:
            UserError: It cannot be read, or does not fit the index.
        """
        image = self.images[index]
        path = self.id_map_folder / image.id_map
        ids = self._read_id_map(path, image.entry.record)
        segments = image.entry.segments
        listed = max([0, *(segment.id for segment in segments), *image.crowd_labels])
        # From the file's ids to 0, -1 and 1..N; the last row stands for all ids beyond the listed ones.
        table = np.full(listed + 2, _UNLISTED, dtype=np.int64)
        table[0] = _VOID if self.unlabelled_is_void else 0
        table[list(image.crowd_labels)] = _VOID
        for position, segment in enumerate(segments, start=1):
            table[segment.id] = position
        segment_ids = table[np.minimum(ids, listed + 1)]
        if (segment_ids == _UNLISTED).any():
            unlisted = int(ids[segment_ids == _UNLISTED][0])
            raise UserError(
                f"data: the id map '{path}' holds the id {unlisted}, which {self.index.name} does not list. "
                "Prepare the dataset again."
            )
        areas = np.bincount(segment_ids[segment_ids > 0], minlength=len(segments) + 1)
        for position, segment in enumerate(segments, start=1):
            if not areas[position]:
                raise UserError(
                    f"data: the id map '{path}' has no pixel of segment {segment.id}, which "
                    f"{self.index.name} lists. Prepare the dataset again."
                )
        labels = torch.tensor(self.segment_labels(index), dtype=torch.int64)
        crowd = None
        if image.crowd_labels:
            classes = np.full(listed + 2, _VOID, dtype=np.int64)
            classes[list(image.crowd_labels)] = list(image.crowd_labels.values())
            crowd = torch.from_numpy(classes[np.minimum(ids, listed + 1)])
        return PanopticSegmentation(torch.from_numpy(segment_ids), labels, crowd=crowd)

    def _read_id_map(self, path: Path, record: ImageRecord) -> NDArray[np.int32]:
        """Read a COCO id map, (H, W); its header is checked before its pixels are decoded."""
        try:
            with Image.open(check_regular(path), formats=("PNG",)) as header:
                mode, size = header.mode, (header.height, header.width)
                # Without the condition Pillow would decode the pixels to look for a tag behind them.
                orientation = header.getexif().get(ORIENTATION, 1) if "exif" in header.info else 1
        except Exception as error:  # Damaged files make Pillow raise almost anything.
            raise UserError(
                f"data: the id map '{path}' is missing or unreadable ({error}). Prepare the dataset again."
            ) from error
        if size[0] * size[1] > MAXIMUM_PIXELS:
            raise UserError(
                f"data: the id map '{path}' has {size[0]} x {size[1]} pixels, more than {MAXIMUM_PIXELS}."
            )
        self._check_size(path, size[::-1] if orientation in (5, 6, 7, 8) else size, record)
        if mode != "RGB":
            raise UserError(f"data: the id map '{path}' is a {mode} image, COCO's are RGB.")
        # From memory: OpenCV crashes on a path that is no UTF-8.
        stored = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(stored, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise UserError(f"data: the id map '{path}' is damaged. Prepare the dataset again.")
        pixels = np.ascontiguousarray(upright(pixels, orientation))
        blue, green, red = (pixels[..., channel].astype(np.int32) for channel in range(3))
        return np.asarray(red + (green << 8) + (blue << 16), dtype=np.int32)

    def _check_size(self, path: Path, shape: tuple[int, ...], record: ImageRecord) -> None:
        if shape != (record.height, record.width):
            raise UserError(
                f"data: '{path}' is {shape[0]} x {shape[1]} pixels, {self.index.name} says {record.height} x "
                f"{record.width}."
            )


def open_prepared(
    *,
    root: str,
    categories: Sequence[Mapping[str, Any]],
    channels: Literal["grey", "rgb"] | None = None,
) -> PreparedDataset:
    """Open a dataset that ``prepare`` made, with the configured categories.

    Args:
        root: The dataset's folder.
        categories: As configured; see ``categories_from_config``.
        channels: What the network sees: ``rgb`` for images that were prepared in three channels; None: grey.

    Raises:
        UserError: The dataset is missing, contradicts itself, or has other categories or channels.
    """
    wanted = channels or "grey"
    dataset = PreparedDataset.open(Path(root), categories_from_config(categories), channels=wanted)
    stored = dataset.info.get("channels", "grey")
    if stored != wanted:
        raise UserError(
            f"data.root: '{root}' has {stored} images, but {wanted} ones are wanted. Give the settings that "
            "it was prepared with (data.modality=pair makes rgb ones), or another folder."
        )
    return dataset
