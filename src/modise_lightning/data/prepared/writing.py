"""Writes prepared datasets: the COCO panoptic layout with folds.

``images/*.png`` (8 or 16 bit, grey or in three channels), ``panoptic/*.png`` (COCO id maps),
``panoptic.json`` and ``folds.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from modise_lightning.atomic_files import write_bytes_atomically
from modise_lightning.structures import Category, ImageRecord

INDEX_NAME = "panoptic.json"
FOLDS_NAME = "folds.json"
IMAGE_FOLDER = "images"
PANOPTIC_FOLDER = "panoptic"
# Of an image; COCO's have up to about a hundred. Training keeps a mask of each of them.
MAXIMUM_SEGMENTS = 1000
MAXIMUM_SEGMENT_ID = 2**24 - 1  # three bytes in a COCO id map
# Where images without findings are: nowhere; in validation and test; in training too.
Normals = Literal["none", "evaluation", "all"]
_IMAGE_KEYS = {"id", "file_name", "width", "height", "patient_id"}
# Two to three times as fast as OpenCV's default filters, and smaller, on id maps and on noisy images.
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]
_INFO_KEYS = {"name", "synthetic", "description", "license"}


@dataclass(frozen=True)
class PreparedSegment:
    """One segment of an image.

    Attributes:
        id: Positive id in the id map.
        label: Index of its category.
        area: Pixels.
        bbox: x, y, width and height in pixels.
    """

    id: int
    label: int
    area: int
    bbox: tuple[int, int, int, int]


@dataclass(frozen=True)
class PreparedEntry:
    """An image of the dataset with its segments.

    Attributes:
        record: Where it comes from; ``file_name`` is the PNG's name in both folders.
        segments: In the order of their ids.
        attributes: What else is known of the image (view, laterality), as plain values.
    """

    record: ImageRecord
    segments: tuple[PreparedSegment, ...]
    attributes: Mapping[str, str | int | float]

    @property
    def is_normal(self) -> bool:
        """Whether the source calls the image free of findings, and no segment contradicts it."""
        return not self.segments and self.attributes.get("normal") == 1


def write_entry(
    root: Path,
    record: ImageRecord,
    pixels: NDArray[Any],
    segment_ids: NDArray[Any],
    labels: Sequence[int],
    attributes: Mapping[str, str | int | float],
) -> PreparedEntry:
    """Write an image and its id map; safe to call from several processes.

    Args:
        root: The dataset's folder.
        record: ``file_name`` is a PNG's name without folders.
        pixels: (H, W) uint8 or uint16; (H, W, 3) in colours; or (H, W, 2) of two images that lie on each
            other, the first stored as red and blue and the second as green, since no PNG has two channels.
        segment_ids: (H, W); 0 where there is no segment, 1..N elsewhere.
        labels: Category index of segments 1..N; one without a pixel is left out.
        attributes: Plain values that go into the index.

    Raises:
        ValueError: Shapes, types or the file name do not fit.
    """
    name = record.file_name
    if Path(name).name != name or "\\" in name or not name.endswith(".png"):
        raise ValueError(f"'{name}' is not the name of a PNG file.")
    if pixels.shape[:2] != segment_ids.shape or segment_ids.shape != (record.height, record.width):
        raise ValueError(f"{name}: image {pixels.shape}, map {segment_ids.shape}, record differ in size.")
    if pixels.ndim != 2 and pixels.shape[2:] not in ((2,), (3,)):
        raise ValueError(f"{name}: pixels of the shape {pixels.shape}, expected one, two or three channels.")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name}: pixels are {pixels.dtype}, expected uint8 or uint16.")
    if not np.issubdtype(segment_ids.dtype, np.integer):
        raise ValueError(f"{name}: segment ids are {segment_ids.dtype}, expected integers.")
    if len(labels) > MAXIMUM_SEGMENT_ID or segment_ids.min() < 0 or segment_ids.max() > len(labels):
        raise ValueError(f"{name}: segment ids must be 0..{len(labels)}, the number of labels.")
    if min(labels, default=0) < 0:
        raise ValueError(f"{name}: labels are indices of categories, found {min(labels)}.")
    if not _IMAGE_KEYS.isdisjoint(attributes):
        raise ValueError(
            f"{name}: the attributes {sorted(_IMAGE_KEYS & set(attributes))} have a place already."
        )
    areas = np.bincount(segment_ids.reshape(-1), minlength=len(labels) + 1)
    boxes = ndimage.find_objects(segment_ids, max_label=len(labels))
    segments = []
    for segment_id, (label, box) in enumerate(zip(labels, boxes, strict=True), start=1):
        if box is not None:
            rows, columns = box
            bbox = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            segments.append(PreparedSegment(segment_id, int(label), int(areas[segment_id]), bbox))
    # COCO panoptic: id = R + 256 G + 65536 B; OpenCV writes the channels as B, G, R.
    id_map = np.zeros((*segment_ids.shape, 3), dtype=np.uint8)
    for channel, shift in ((2, 0), (1, 8), (0, 16)):
        if len(labels) >> shift:  # seldom more than one channel, and a mammogram is large
            np.bitwise_and(segment_ids >> shift, 255, out=id_map[..., channel], casting="unsafe")
    _write_png(root / PANOPTIC_FOLDER / record.file_name, id_map)
    # OpenCV writes the channels as B, G, R.
    stored = pixels if pixels.ndim == 2 else pixels[..., [0, 1, 0] if pixels.shape[2] == 2 else [2, 1, 0]]
    _write_png(root / IMAGE_FOLDER / record.file_name, stored)
    return PreparedEntry(record=record, segments=tuple(segments), attributes=dict(attributes))


def write_index(
    root: Path,
    info: Mapping[str, object],
    categories: Sequence[Category],
    entries: Sequence[PreparedEntry],
    folds: Sequence[int],
    fold_seed: int,
) -> None:
    """Write ``folds.json`` and, last, ``panoptic.json``, whose presence says that the dataset is complete.

    Args:
        root: The dataset's folder.
        info: What the dataset says of itself: name, synthetic, description, license, ...
        categories: In the order of their indices; ids in the file are the indices + 1.
        entries: All images.
        folds: Fold of each image.
        fold_seed: The folds' seed.

    Raises:
        ValueError: Something is missing, stands twice, or a patient is in two folds.
    """
    _check_index(info, categories, entries, folds)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for entry in entries:
        record = entry.record
        images.append(
            {
                "id": record.image_id,
                "file_name": record.file_name,
                "width": record.width,
                "height": record.height,
                "patient_id": record.patient_id,
                **entry.attributes,
            }
        )
        annotations.append(
            {
                "image_id": record.image_id,
                "file_name": record.file_name,
                "segments_info": [
                    {
                        "id": segment.id,
                        "category_id": segment.label + 1,
                        "area": segment.area,
                        "bbox": list(segment.bbox),
                        "iscrowd": 0,
                    }
                    for segment in entry.segments
                ],
            }
        )
    index = {
        "info": dict(info),
        "images": images,
        "annotations": annotations,
        "categories": [
            {
                "id": index + 1,
                "name": category.name,
                "isthing": int(category.isthing),
                "color": list(category.color),
            }
            for index, category in enumerate(categories)
        ],
    }
    fold_table = {
        entry.record.file_name: {"patient_id": entry.record.patient_id, "fold": int(fold)}
        for entry, fold in zip(entries, folds, strict=True)
    }
    folds_file = {"seed": fold_seed, "num_folds": max(folds) + 1, "images": fold_table}
    write_bytes_atomically(root / FOLDS_NAME, json.dumps(folds_file, indent=1).encode())
    write_bytes_atomically(root / INDEX_NAME, json.dumps(index).encode())


def _check_index(
    info: Mapping[str, object],
    categories: Sequence[Category],
    entries: Sequence[PreparedEntry],
    folds: Sequence[int],
) -> None:
    if not set(info) >= _INFO_KEYS:
        raise ValueError(f"info lacks {sorted(_INFO_KEYS - set(info))}.")
    records = [entry.record for entry in entries]
    for values in ([record.image_id for record in records], [record.file_name for record in records]):
        if len(set(values)) != len(values):
            raise ValueError("two images have the same id or file name.")
    if any(segment.label >= len(categories) for entry in entries for segment in entry.segments):
        raise ValueError(f"a segment's label is not one of the {len(categories)} categories.")
    if set(folds) != set(range(len(set(folds)))) or not folds:
        raise ValueError(f"folds must be 0..F-1 without a gap, found {sorted(set(folds))}.")
    pairs = {(record.patient_id, fold) for record, fold in zip(records, folds, strict=True)}
    if len(pairs) != len({patient for patient, _ in pairs}):
        raise ValueError("a patient is in two folds.")


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    succeeded, data = cv2.imencode(".png", np.ascontiguousarray(pixels), _PNG_OPTIONS)
    if not succeeded:
        raise ValueError(f"{path}: the image cannot be encoded.")
    write_bytes_atomically(path, data.tobytes())
