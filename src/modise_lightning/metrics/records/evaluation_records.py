"""Records of an evaluation, by image, by segment and by overlap: tables in memory and CSV files on disk.

They hold what precision-recall curves, FROC curves, calibration, confusion of classes and panoptic quality of
any selection of images are computed from, at any IoU threshold, without the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from modise_lightning.metrics.records.clinical_records import (
    ClinicalRecords,
    read_clinical_records,
    write_clinical_records,
)
from modise_lightning.metrics.records.tables import (
    Columns,
    Kind,
    check,
    check_known,
    check_unique,
    make_rows,
    read_table,
    write_table,
)

_COUNTS_AT_A_THRESHOLD: dict[str, Kind] = {
    "threshold": "fraction",
    "true_positives": "count",
    "false_positives": "count",
    "false_negatives": "count",
    "matched_iou": "optional fraction",
    "panoptic_quality": "optional fraction",
}

IMAGE_COLUMNS: Columns = {
    "image_id": "count",
    "file_name": "text",
    "patient_id": "text",
    "num_truth": "count",
    "num_predicted": "count",
    **{f"lowest_{name}": kind for name, kind in _COUNTS_AT_A_THRESHOLD.items()},
    **{f"best_{name}": kind for name, kind in _COUNTS_AT_A_THRESHOLD.items()},
    "dice": "optional fraction",
}
INSTANCE_COLUMNS: Columns = {
    "image_id": "count",
    "source": "text",
    "index": "count",
    "category": "text",
    "score": "optional fraction",
    "area": "count",
    "void_area": "count",
}
OVERLAP_COLUMNS: Columns = {
    "image_id": "count",
    "source": "text",
    "predicted_index": "count",
    "true_index": "count",
    "iou": "fraction",
}
PIXEL_COLUMNS: Columns = {
    "image_id": "count",
    "category": "text",
    "intersection": "count",
    "size": "count",
}
ANNOTATED_COLUMNS: Columns = {
    "image_id": "count",
    "category": "text",
}
_CHOICES = {
    "images": {},
    "instances": {"source": {"truth", "instance", "panoptic"}},
    "overlaps": {"source": {"instance", "panoptic"}},
}


@dataclass(frozen=True)
class EvaluationRecords:
    """What an evaluation found in each image; void pixels are left out of every IoU.

    Attributes:
        images: A row an image, by ``image_id``: ``file_name``, ``patient_id`` (may be empty), ``num_truth``
            and ``num_predicted`` (panoptic) segments; at the lowest configured IoU threshold (``lowest_...``)
            and at the evaluation's best one (``best_...``) the ``threshold``, ``true_positives``,
            ``false_positives``, ``false_negatives``, ``matched_iou`` (mean over the matches, NaN without any)
            and ``panoptic_quality`` (mean over the classes that occur in the image, NaN without any);
            ``dice`` (likewise). Ratios are in [0, 1].
        instances: A row a segment with pixels: ``image_id``, ``source`` (``truth``, ``instance`` or
            ``panoptic``), ``index`` (its position in that source, from 0), ``category`` (name), ``score`` (in
            [0, 1], NaN for truth), ``area`` (pixels) and ``void_area`` (those that are void in the
            truth; of panoptic segments also those in a crowd region of their class, in no other one).
        overlaps: A row a predicted and a true segment with a common pixel, whatever their classes:
            ``image_id``, ``source`` (``instance`` or ``panoptic``), ``predicted_index``, ``true_index`` and
            ``iou`` in (0, 1].
        class_pixels: A row an image and class that occurs in it: ``intersection``, the pixels that truth and
            semantic prediction share, and ``size``, those of both added up; None of an older version.
        clinical: What else ``metrics=clinical`` keeps; None of an evaluation with other metrics, and of an
            older version.
        annotated_classes: A row an image and class that its truth annotates, where sources of images annotate
            different ones: predictions of others are in no table. None: all classes in all images.
    """

    images: pd.DataFrame
    instances: pd.DataFrame
    overlaps: pd.DataFrame
    class_pixels: pd.DataFrame | None = None
    clinical: ClinicalRecords | None = None
    annotated_classes: pd.DataFrame | None = None


# Reads the records of a folder: ``read_records``, or what remembers those that it has read.
ReadRecords = Callable[[Path], EvaluationRecords]

_COLUMNS = {"images": IMAGE_COLUMNS, "instances": INSTANCE_COLUMNS, "overlaps": OVERLAP_COLUMNS}
_PIXELS = "class_pixels"
_ANNOTATED = "annotated_classes"
_OPTIONAL = {_PIXELS: PIXEL_COLUMNS, _ANNOTATED: ANNOTATED_COLUMNS}


def make_table(
    name: Literal["images", "instances", "overlaps", "class_pixels", "annotated_classes"],
    rows: list[tuple[object, ...]],
) -> pd.DataFrame:
    """Make one of the tables with its columns and their types.

    Args:
        name: Which table.
        rows: Values in the order of the columns.
    """
    return make_rows({**_COLUMNS, **_OPTIONAL}[name], rows)


def write_records(folder: Path, records: EvaluationRecords) -> None:
    """Write ``images.csv``, ``instances.csv``, ``overlaps.csv``, and what else there is.

    Args:
        folder: Made if it is missing.
        records: What to write.
    """
    for name, columns in _COLUMNS.items():
        write_table(folder / f"{name}.csv", getattr(records, name), columns)
    for name, columns in _OPTIONAL.items():
        if (table := getattr(records, name)) is not None:
            write_table(folder / f"{name}.csv", table, columns)
    if records.clinical is not None:
        write_clinical_records(folder, records.clinical)


def read_records(folder: Path) -> EvaluationRecords:
    """Read and check what ``write_records`` wrote.

    Args:
        folder: Holds the files.

    Raises:
        UserError: A file is missing, is damaged, or contradicts another one; names file, row and column.
    """
    images, instances, overlaps = (
        read_table(folder / f"{name}.csv", columns, _CHOICES[name]) for name, columns in _COLUMNS.items()
    )
    check(folder / "overlaps.csv", overlaps["iou"], overlaps["iou"] > 0, "above 0")
    check_unique(folder / "images.csv", images, ["image_id"])
    check_unique(folder / "instances.csv", instances, ["image_id", "source", "index"])
    check_unique(folder / "overlaps.csv", overlaps, ["image_id", "source", "predicted_index", "true_index"])
    check_known(folder / "instances.csv", instances[["image_id"]], images[["image_id"]], "images.csv")
    known = instances[["image_id", "source", "index"]]
    predicted = overlaps[["image_id", "source", "predicted_index"]]
    true = overlaps[["image_id", "true_index"]].assign(source="truth")[["image_id", "source", "true_index"]]
    check_known(folder / "overlaps.csv", predicted, known, "instances.csv")
    check_known(folder / "overlaps.csv", true, known, "instances.csv")
    clinical = read_clinical_records(folder, images, instances)
    pixels = _read_pixels(folder, images)
    annotated = _read_optional(folder, _ANNOTATED, images)
    return EvaluationRecords(images, instances, overlaps, pixels, clinical, annotated)


def _read_pixels(folder: Path, images: pd.DataFrame) -> pd.DataFrame | None:
    path, pixels = folder / f"{_PIXELS}.csv", _read_optional(folder, _PIXELS, images)
    if pixels is not None:
        fits = 2 * pixels["intersection"] <= pixels["size"]
        check(path, pixels["intersection"], fits, "at most half the size")
    return pixels


def _read_optional(folder: Path, name: str, images: pd.DataFrame) -> pd.DataFrame | None:
    """Read a table with one row an image and class, if it is there."""
    path = folder / f"{name}.csv"
    if not path.exists():
        return None
    table = read_table(path, _OPTIONAL[name], {})
    check_unique(path, table, ["image_id", "category"])
    check_known(path, table[["image_id"]], images[["image_id"]], "images.csv")
    return table
