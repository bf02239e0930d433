"""Records of an evaluation, by image, by segment and by overlap: tables in memory and CSV files on disk.

They hold what precision-recall curves, FROC curves, calibration, confusion of classes and panoptic quality of
any selection of images are computed from, at any IoU threshold, without the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from modise_lightning.atomic_files import write_text_atomically
from modise_lightning.csv_cells import guard_cell, unguard_cell
from modise_lightning.errors import UserError
from modise_lightning.regular_files import check_regular

_Kind = Literal["text", "count", "fraction", "optional fraction"]

_COUNTS_AT_A_THRESHOLD: dict[str, _Kind] = {
    "threshold": "fraction",
    "true_positives": "count",
    "false_positives": "count",
    "false_negatives": "count",
    "matched_iou": "optional fraction",
    "panoptic_quality": "optional fraction",
}

IMAGE_COLUMNS: Mapping[str, _Kind] = {
    "image_id": "count",
    "file_name": "text",
    "patient_id": "text",
    "num_truth": "count",
    "num_predicted": "count",
    **{f"lowest_{name}": kind for name, kind in _COUNTS_AT_A_THRESHOLD.items()},
    **{f"best_{name}": kind for name, kind in _COUNTS_AT_A_THRESHOLD.items()},
    "dice": "optional fraction",
}
INSTANCE_COLUMNS: Mapping[str, _Kind] = {
    "image_id": "count",
    "source": "text",
    "index": "count",
    "category": "text",
    "score": "optional fraction",
    "area": "count",
    "void_area": "count",
}
OVERLAP_COLUMNS: Mapping[str, _Kind] = {
    "image_id": "count",
    "source": "text",
    "predicted_index": "count",
    "true_index": "count",
    "iou": "fraction",
}
_SOURCES = {"instances": {"truth", "instance", "panoptic"}, "overlaps": {"instance", "panoptic"}}
_DTYPES = {"text": "str", "count": "int64", "fraction": "float64", "optional fraction": "float64"}


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
    """

    images: pd.DataFrame
    instances: pd.DataFrame
    overlaps: pd.DataFrame


_COLUMNS = {"images": IMAGE_COLUMNS, "instances": INSTANCE_COLUMNS, "overlaps": OVERLAP_COLUMNS}


def make_table(
    name: Literal["images", "instances", "overlaps"], rows: list[tuple[object, ...]]
) -> pd.DataFrame:
    """Make one of the tables with its columns and their types.

    Args:
        name: Which table.
        rows: Values in the order of the columns.
    """
    types = {column: _DTYPES[kind] for column, kind in _COLUMNS[name].items()}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def write_records(folder: Path, records: EvaluationRecords) -> None:
    """Write ``images.csv``, ``instances.csv`` and ``overlaps.csv``; numbers keep all their digits.

    Args:
        folder: Made if it is missing.
        records: What to write.
    """
    for name in _COLUMNS:
        table: pd.DataFrame = getattr(records, name).copy()
        for column, kind in _COLUMNS[name].items():
            if kind == "text":
                table[column] = table[column].map(guard_cell)
        write_text_atomically(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def read_records(folder: Path) -> EvaluationRecords:
    """Read and check what ``write_records`` wrote.

    Args:
        folder: Holds the three files.

    Raises:
        UserError: A file is missing, is damaged, or contradicts another one; names file, row and column.
    """
    images, instances, overlaps = (_read_table(folder / f"{name}.csv", name) for name in _COLUMNS)
    _check_unique(folder / "images.csv", images, ["image_id"])
    _check_unique(folder / "instances.csv", instances, ["image_id", "source", "index"])
    _check_unique(folder / "overlaps.csv", overlaps, ["image_id", "source", "predicted_index", "true_index"])
    _check_known(folder / "instances.csv", instances[["image_id"]], images[["image_id"]], "images.csv")
    known = instances[["image_id", "source", "index"]]
    predicted = overlaps[["image_id", "source", "predicted_index"]]
    true = overlaps[["image_id", "true_index"]].assign(source="truth")[["image_id", "source", "true_index"]]
    _check_known(folder / "overlaps.csv", predicted, known, "instances.csv")
    _check_known(folder / "overlaps.csv", true, known, "instances.csv")
    return EvaluationRecords(images, instances, overlaps)


def _read_table(path: Path, name: str) -> pd.DataFrame:
    columns = _COLUMNS[name]
    try:
        # As text first: pandas would take a file named "NA" for a missing value.
        content = StringIO(check_regular(path).read_text(encoding="utf-8"))
        text = pd.read_csv(content, dtype=str, keep_default_na=False)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a folder that a run wrote, records/<model>."
        ) from error
    except ValueError as error:  # pandas' parser errors, and bytes that are not UTF-8
        raise UserError(f"{path}: not a CSV file of records ({error}).") from error
    if list(text.columns) != list(columns):
        raise UserError(f"{path}: expected the columns {list(columns)}, found {list(text.columns)}.")
    converted = {column: _convert(path, text[column], kind) for column, kind in columns.items()}
    table = pd.DataFrame(converted)
    if name in _SOURCES:
        _check(
            path, table["source"], table["source"].isin(_SOURCES[name]), f"one of {sorted(_SOURCES[name])}"
        )
    if name == "overlaps":
        _check(path, table["iou"], table["iou"] > 0, "above 0")
    return table


def _convert(path: Path, column: pd.Series, kind: _Kind) -> pd.Series:
    if kind == "text":
        return column.map(unguard_cell)
    numbers = pd.to_numeric(column, errors="coerce")
    if kind == "count":
        fits = column.str.fullmatch(r"\d{1,18}")
        _check(path, column, fits, "a whole number that is not negative")
        return column.astype("int64")
    missing = (column == "") if kind == "optional fraction" else pd.Series(False, index=column.index)
    _check(path, column, missing | numbers.between(0, 1), "a number in [0, 1]")
    # float() gives back exactly the number that was written; pandas' faster parser may not.
    return pd.Series([float(value) if value else np.nan for value in column], column.index, dtype="float64")


def _check(path: Path, column: pd.Series, fits: pd.Series, expected: str) -> None:
    if not fits.all():
        row = int(np.argmin(fits.to_numpy(dtype=bool)))
        raise UserError(
            f"{path}: line {row + 2}, {column.name}: expected {expected}, found '{column.iloc[row]}'."
        )


def _check_unique(path: Path, table: pd.DataFrame, key: list[str]) -> None:
    repeated = table.duplicated(key).to_numpy()
    if repeated.any():
        row = int(np.argmax(repeated))
        raise UserError(f"{path}: line {row + 2} repeats the {', '.join(key)} of an earlier line.")


def _check_known(path: Path, keys: pd.DataFrame, known: pd.DataFrame, other: str) -> None:
    found = pd.MultiIndex.from_frame(keys).isin(pd.MultiIndex.from_frame(known))
    if not found.all():
        row = int(np.argmin(found))
        values = ", ".join(f"{name} {value}" for name, value in keys.iloc[row].items())
        raise UserError(f"{path}: line {row + 2}: {other} has no {values}.")
