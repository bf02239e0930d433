"""What is kept of each image beside the usual records: for cases, strata, borders, other rules of a hit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import pandas as pd

from modise_lightning.metrics.records.tables import (
    Columns,
    check,
    check_known,
    check_unique,
    make_rows,
    read_table,
    write_table,
)
from modise_lightning.structures import ImageRecord

Unit = Literal["mm", "pixels"]

_COLUMNS: Mapping[str, Columns] = {
    "image_descriptions": {
        "image_id": "count",
        "height": "count",
        "width": "count",
        "study_id": "text",
        "laterality": "text",
        "view": "text",
        "density": "text",
        "modality": "text",
        "row_spacing_mm": "optional length",
        "column_spacing_mm": "optional length",
        "source": "text",
        "fold": "optional count",
        "normal": "text",
    },
    "localisations": {
        "image_id": "count",
        "predicted_index": "count",
        "true_index": "count",
        "box_iou": "fraction",
        "centre_inside": "count",
    },
    "boundaries": {
        "image_id": "count",
        "predicted_index": "count",
        "true_index": "count",
        "surface_dice": "fraction",
        "hausdorff_95": "optional length",
        "average_distance": "optional length",
        "boundary_iou": "fraction",
        "unit": "text",
    },
}
_CHOICES = {
    "image_descriptions": {"laterality": {"", "left", "right"}, "normal": {"", "yes", "no"}},
    "localisations": {},
    "boundaries": {"unit": {"mm", "pixels"}},
}
_KEYS = {
    "image_descriptions": ["image_id"],
    "localisations": ["image_id", "predicted_index", "true_index"],
    "boundaries": ["image_id", "predicted_index", "true_index"],
}
# Whose predictions ``predicted_index`` counts.
_SOURCES = {"localisations": "instance", "boundaries": "panoptic"}


@dataclass(frozen=True)
class ClinicalRecords:
    """What ``metrics=clinical`` keeps of an evaluation.

    Attributes:
        image_descriptions: A row an image: what its source says of it (``ImageRecord``); empty where it does
            not say.
        localisations: A row an instance and a true segment whose boxes overlap, whatever their classes:
            ``box_iou`` in (0, 1], and ``centre_inside``, 1 where the instance's centre of mass lies on the
            true segment. Void pixels are cut out of the instance.
        boundaries: A row a panoptic and a true segment of one class with a common pixel: ``surface_dice`` at
            the tolerance, ``hausdorff_95`` and ``average_distance`` in the row's ``unit``, ``boundary_iou``.
            Void pixels are cut out of the panoptic segment.
    """

    image_descriptions: pd.DataFrame
    localisations: pd.DataFrame
    boundaries: pd.DataFrame

    @classmethod
    def of_rows(cls, rows: Mapping[str, list[tuple[object, ...]]]) -> ClinicalRecords:
        """Make the tables of rows, by their names."""
        return cls(**{name: make_rows(columns, rows[name]) for name, columns in _COLUMNS.items()})


def description_row(image: ImageRecord) -> tuple[object, ...]:
    """Give the row of an image in ``image_descriptions``."""
    row_spacing, column_spacing = image.spacing_mm or (None, None)
    normal = "" if image.normal is None else "yes" if image.normal else "no"
    texts = (image.study_id, image.laterality, image.view, image.density, image.modality)
    return (
        image.image_id,
        image.height,
        image.width,
        *(text or "" for text in texts),
        row_spacing,
        column_spacing,
        image.source or "",
        image.fold,
        normal,
    )


def describe_images(images: pd.DataFrame, clinical: ClinicalRecords | None) -> list[ImageRecord]:
    """Give what the records say of each image; without clinical ones little more than its patient.

    Args:
        images: ``EvaluationRecords.images``.
        clinical: Of the same evaluation.
    """
    if clinical is None:
        return [
            ImageRecord(int(row.image_id), str(row.file_name), str(row.patient_id), 0, 0)  # type: ignore[arg-type]
            for row in images.itertuples()
        ]
    by_id = clinical.image_descriptions.set_index("image_id").loc[images["image_id"].tolist()]
    described = []
    for row, said in zip(images.itertuples(), by_id.to_dict("records"), strict=True):
        spacing = (float(said["row_spacing_mm"]), float(said["column_spacing_mm"]))
        described.append(
            ImageRecord(
                int(row.image_id),  # type: ignore[arg-type]
                str(row.file_name),
                str(row.patient_id),
                int(said["height"]),
                int(said["width"]),
                study_id=said["study_id"] or None,
                laterality=cast(Literal["left", "right"] | None, said["laterality"] or None),
                view=said["view"] or None,
                density=said["density"] or None,
                modality=said["modality"] or None,
                spacing_mm=None if pd.isna(spacing[0]) or pd.isna(spacing[1]) else spacing,
                source=said["source"] or None,
                fold=None if pd.isna(said["fold"]) else int(said["fold"]),
                normal=None if not said["normal"] else said["normal"] == "yes",
            )
        )
    return described


def write_clinical_records(folder: Path, records: ClinicalRecords) -> None:
    """Write a CSV file a table.

    Args:
        folder: Made if it is missing.
        records: What to write.
    """
    for name, columns in _COLUMNS.items():
        write_table(folder / f"{name}.csv", getattr(records, name), columns)


def read_clinical_records(
    folder: Path, images: pd.DataFrame, instances: pd.DataFrame
) -> ClinicalRecords | None:
    """Read and check what ``write_clinical_records`` wrote.

    Args:
        folder: Of the records.
        images: ``EvaluationRecords.images``.
        instances: ``EvaluationRecords.instances``.

    Returns:
        None where there are none.

    Raises:
        UserError: A file is missing beside another one, is damaged, or contradicts the other records.
    """
    if not any((folder / f"{name}.csv").exists() for name in _COLUMNS):
        return None
    tables = {}
    for name, columns in _COLUMNS.items():
        path = folder / f"{name}.csv"
        table = read_table(path, columns, _CHOICES[name])
        check_unique(path, table, _KEYS[name])
        check_known(path, table[["image_id"]], images[["image_id"]], "images.csv")
        if name in _SOURCES:
            known = instances[["image_id", "source", "index"]]
            for column, source in (("predicted_index", _SOURCES[name]), ("true_index", "truth")):
                keys = table[["image_id", column]].assign(source=source)[["image_id", "source", column]]
                check_known(path, keys, known, "instances.csv")
        tables[name] = table
    path, inside = folder / "localisations.csv", tables["localisations"]["centre_inside"]
    check(path, inside, inside <= 1, "0 or 1")
    described = tables["image_descriptions"][["image_id"]]
    check_known(folder / "images.csv", images[["image_id"]], described, "image_descriptions.csv")
    return ClinicalRecords(**tables)
