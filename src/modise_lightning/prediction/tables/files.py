"""Writes the tables of a folder's predictions as CSV and Parquet, and its lesions as COCO's JSON."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from modise_lightning.atomic_files import write_bytes_atomically, write_text_atomically
from modise_lightning.csv_cells import guard_cells
from modise_lightning.errors import UserError
from modise_lightning.prediction.tables.rows import Finished
from modise_lightning.structures import Category
from modise_lightning.visible_text import visible


def check_parquet() -> None:
    """Look for the library that writes Parquet, before anything slow starts.

    Raises:
        UserError: It is not installed.
    """
    if find_spec("pyarrow") is None:
        raise UserError(
            "export: parquet is written by pyarrow, which is not installed; "
            "pip install 'modise-lightning[parquet]'."
        )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table as ``csv_text`` gives it."""
    write_text_atomically(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Give a table as CSV; cells that spreadsheets would compute are marked as text, and None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(guard_cells(columns))
    for row in rows:
        cells = ("" if row[name] is None else row[name] for name in columns)
        writer.writerow(guard_cells(visible(cell) if isinstance(cell, str) else cell for cell in cells))
    return text.getvalue()


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with its types; what is not known is null."""
    shown = (
        {name: visible(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows
    )
    frame = pd.DataFrame(list(shown), columns=list(columns))
    data = io.BytesIO()
    frame.to_parquet(data, index=False)
    write_bytes_atomically(path, data.getvalue())


def write_coco(
    path: Path, images: Iterable[Finished], categories: Sequence[Category], information: Mapping[str, Any]
) -> None:
    """Write the lesions of all images in the layout of COCO's object detection, image after image.

    Category ids are those of the classes from 1; each annotation has a score beside what COCO has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(_coco_text(list(images), categories, information))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _coco_text(
    images: Sequence[Finished], categories: Sequence[Category], information: Mapping[str, Any]
) -> Iterator[str]:
    listed = [
        {"id": number, "name": category.name, "isthing": int(category.isthing)}
        for number, category in enumerate(categories, start=1)
    ]
    yield f'{{"info": {json.dumps(information)},\n"categories": {json.dumps(listed)},\n"images": ['
    for number, (planned, finished) in enumerate(images, start=1):
        described = {
            "id": number,
            "file_name": planned.task.label,
            "height": finished.height,
            "width": finished.width,
            "exam": planned.place.exam,
        }
        yield f"{',' if number > 1 else ''}\n{json.dumps(described)}"
    yield '],\n"annotations": ['
    of_name = {entry["name"]: entry["id"] for entry in listed}
    written = 0
    for number, (_, finished) in enumerate(images, start=1):
        for lesion in finished.lesions:
            written += 1
            annotation = {
                "id": written,
                "image_id": number,
                "category_id": of_name[lesion["class"]],
                "bbox": [lesion["x"], lesion["y"], lesion["width"], lesion["height"]],
                "area": lesion["area"],
                "iscrowd": 0,
                "score": lesion["score"],
                "segmentation": lesion["segmentation"],
            }
            yield f"{',' if written > 1 else ''}\n{json.dumps(annotation)}"
    yield "]}\n"
