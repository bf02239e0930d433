"""Makes a prepared dataset of a folder of images and a CSV file of circles.

``circles.csv`` has the columns image, patient, x, y, radius (pixels) and category; an image without a lesion
has a row with an empty category.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.preparation.csv_table import CsvRow, read_csv_table
from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.preparation.report import PreparationReport
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.writing import (
    PreparedEntry,
    write_entry,
    write_index,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import ImageRecord

_COLUMNS = ["image", "patient", "x", "y", "radius", "category"]


class CirclesPreparer:
    """Turns circles into segments; the prepared layout and all after it are the library's."""

    def __init__(
        self,
        *,
        raw: str | None,
        root: str,
        categories: Sequence[Mapping[str, Any]],
        num_folds: int,
        fold_seed: int,
    ) -> None:
        """Remember what to make; nothing is read yet.

        Args:
            raw: Folder of ``circles.csv`` and the images.
            root: Folder of the prepared dataset.
            categories: As in ``data.categories``.
            num_folds: Cross-validation folds of patients.
            fold_seed: Of the folds.

        Raises:
            UserError: There is no folder to read from.
        """
        if raw is None:
            raise UserError("data.raw: missing. Give the folder that holds circles.csv and the images.")
        self._raw = Path(raw)
        self._root = Path(root)
        self._categories = categories_from_config(categories)
        self._num_folds = num_folds
        self._fold_seed = fold_seed

    def prepare(self) -> PreparationReport:
        """Write the prepared dataset.

        Returns:
            What it holds.

        Raises:
            UserError: The table or an image cannot be used; names file, row and column.
        """
        rows, problems = read_csv_table(self._raw / "circles.csv", _COLUMNS)
        by_image: dict[str, list[CsvRow]] = {}
        for row in rows:
            by_image.setdefault(row.cells["image"], []).append(row)
        entries = [self._write(number, *found) for number, found in enumerate(by_image.items(), 1)]
        folds = assign_folds(
            [entry.record.patient_id for entry in entries],
            [str(bool(entry.segments)) for entry in entries],
            self._num_folds,
            self._fold_seed,
        )
        info = {"name": "circles", "synthetic": True, "description": "Circles.", "license": "CC0-1.0"}
        write_index(self._root, info, self._categories, entries, folds, self._fold_seed)
        labels = Counter(segment.label for entry in entries for segment in entry.segments)
        counts = {category.name: labels[label] for label, category in enumerate(self._categories)}
        return PreparationReport(
            name="circles",
            synthetic=True,
            root=str(self._root),
            counts={"images": len(entries), **counts},
            problems=problems,
        )

    def _write(self, image_id: int, name: str, rows: Sequence[CsvRow]) -> PreparedEntry:
        if Path(name).name != name:
            raise UserError(f"circles.csv, row {rows[0].number}: image '{name}' is no plain file name.")
        pixels = np.rint(read_image_file(self._raw / name) * 255).astype(np.uint8)
        names = [category.name for category in self._categories]
        segment_ids = np.zeros(pixels.shape, np.int32)
        labels: list[int] = []
        for row in rows:
            if not row.cells["category"]:
                continue
            if row.cells["category"] not in names:
                raise UserError(
                    f"circles.csv, row {row.number}: no category '{row.cells['category']}'; "
                    f"data.categories has {names}."
                )
            x, y, radius = (_number(row, column) for column in ("x", "y", "radius"))
            cv2.circle(segment_ids, (x, y), radius, len(labels) + 1, cv2.FILLED)
            labels.append(names.index(row.cells["category"]))
        height, width = pixels.shape
        record = ImageRecord(image_id, f"{Path(name).stem}.png", rows[0].cells["patient"], height, width)
        return write_entry(self._root, record, pixels, segment_ids, labels, {})


def _number(row: CsvRow, column: str) -> int:
    try:
        return int(row.cells[column])
    except ValueError as error:
        raise UserError(
            f"circles.csv, row {row.number}, column {column}: '{row.cells[column]}' is no whole number."
        ) from error
