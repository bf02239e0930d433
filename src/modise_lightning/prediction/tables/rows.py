"""The rows of the tables: one a lesion, and one a breast of an exam."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modise_lightning.prediction.inputs.dicom_tags import IDENTIFYING
from modise_lightning.prediction.journal import FinishedImage
from modise_lightning.prediction.planning import PlannedImage

_PLACE = ("image", "exam", "laterality", "view", "lesion")
_PIXELS = ("x", "y", "width", "height", "centroid_x", "centroid_y", "area", "longest_diameter")
_MILLIMETRES = ("x_mm", "y_mm", "width_mm", "height_mm", "centroid_x_mm", "centroid_y_mm", "area_mm2")
LESION_COLUMNS = (
    *_PLACE,
    "class",
    "score",
    *_PIXELS,
    "shortest_diameter",
    *_MILLIMETRES,
    "longest_diameter_mm",
    "shortest_diameter_mm",
    "uncertainty",
    "disagreement",
)

Finished = tuple[PlannedImage, FinishedImage]


def lesion_columns(keeps_identifiers: bool) -> list[str]:
    """Name the columns of the lesions' table."""
    return [*LESION_COLUMNS, *(IDENTIFYING if keeps_identifiers else ())]


def lesion_rows(images: Iterable[Finished], keeps_identifiers: bool) -> Iterator[dict[str, Any]]:
    """Give a row for each lesion of each image; what is not known is None."""
    for planned, finished in images:
        place = planned.place
        own = {
            "image": planned.task.label,
            "exam": place.exam,
            "laterality": place.laterality,
            "view": place.view,
            **_identifiers(planned, keeps_identifiers),
        }
        for number, lesion in enumerate(finished.lesions, start=1):
            row = {**own, **lesion, "lesion": number}
            yield {name: row.get(name) for name in lesion_columns(keeps_identifiers)}


def breast_columns(classes: Sequence[str], keeps_identifiers: bool) -> list[str]:
    """Name the columns of the breasts' table."""
    shown = ["exam", "laterality", "images", "views", "implant", "lesions", "highest_score", "class"]
    shown += [f"score {name}" for name in classes]
    return [*shown, *(IDENTIFYING if keeps_identifiers else ())]


def breast_rows(
    images: Iterable[Finished], classes: Sequence[str], keeps_identifiers: bool
) -> list[dict[str, Any]]:
    """Make a row for each breast of each exam, in the order of their first images.

    Its score for a class, and over all classes, is the highest of its lesions, 0 where there is none.
    """
    rows: dict[tuple[str, str | None], dict[str, Any]] = {}
    for planned, finished in images:
        place = planned.place
        key = place.exam, place.laterality
        if key not in rows:
            rows[key] = {
                "exam": place.exam,
                "laterality": place.laterality,
                "images": 0,
                "views": "",
                "implant": None,
                "lesions": 0,
                "highest_score": 0.0,
                "class": None,
                **{f"score {name}": 0.0 for name in classes},
                **_identifiers(planned, keeps_identifiers),
            }
        row = rows[key]
        row["images"] += 1
        if place.view is not None and place.view not in row["views"].split("+"):
            row["views"] = f"{row['views']}+{place.view}" if row["views"] else place.view
        if planned.tags is not None and planned.tags.has_implant is not None:
            row["implant"] = "yes" if planned.tags.has_implant or row["implant"] == "yes" else "no"
        for lesion in finished.lesions:
            _count(row, lesion)
    return list(rows.values())


def _count(row: dict[str, Any], lesion: dict[str, Any]) -> None:
    row["lesions"] += 1
    if lesion["score"] > row["highest_score"]:
        row["highest_score"], row["class"] = lesion["score"], lesion["class"]
    column = f"score {lesion['class']}"
    row[column] = max(row[column], lesion["score"])


def _identifiers(planned: PlannedImage, keeps_identifiers: bool) -> dict[str, str | None]:
    if not keeps_identifiers:
        return {}
    known = {} if planned.tags is None else planned.tags.identifiers
    return {name: known.get(name) for name in IDENTIFYING}
