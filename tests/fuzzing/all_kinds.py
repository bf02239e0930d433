"""All kinds of input."""

from __future__ import annotations

from pathlib import Path

from fuzzing.dataset_kinds import dataset_kinds
from fuzzing.image_kinds import image_kinds
from fuzzing.input_kinds import input_kinds
from fuzzing.kinds import Kind
from fuzzing.model_kinds import model_kinds
from fuzzing.outline_kinds import outline_kinds
from fuzzing.published_kinds import published_kinds
from fuzzing.run_kinds import run_kinds
from fuzzing.table_kinds import table_kinds


def all_kinds(folder: Path) -> list[Kind]:
    """Make the valid files of all kinds.

    Args:
        folder: For what is written on the way.
    """
    (folder / "datasets").mkdir()
    (folder / "runs").mkdir()
    (folder / "published").mkdir()
    return [
        *image_kinds(),
        *input_kinds(),
        *table_kinds(),
        *outline_kinds(),
        *dataset_kinds(folder / "datasets"),
        *run_kinds(folder / "runs"),
        *model_kinds(),
        *published_kinds(folder / "published"),
    ]
