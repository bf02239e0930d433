"""What every figure says of its numbers: whose images, how many, and which folds are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modise_lightning.reporting.cross_validation.table import DatasetTable

_MOST_ABSENT = 5  # classes that are named


@dataclass(frozen=True)
class Caption:
    """Words of a figure beside its panels.

    Attributes:
        title: Above the panels.
        synthetic: Whether the images are; then the figure says so beside its title.
        notes: Sentences under the panels.
        warning: What is missing, set apart from the notes; empty if nothing is.
    """

    title: str
    synthetic: bool
    notes: tuple[str, ...]
    warning: str

    def of(self, what: str, *notes: str) -> Caption:
        """Name a figure and put its own sentences before the shared ones.

        Args:
            what: What the figure shows.
            notes: Sentences.
        """
        return replace(self, title=f"{what}, {self.title}", notes=(*notes, *self.notes))


def caption_of(table: DatasetTable) -> Caption:
    """Say what all figures of a dataset share.

    Args:
        table: Of one dataset.
    """
    images = "" if table.num_images is None else f" ({table.num_images} images)"
    notes = _classes_that_never_occur(table)
    if table.data_split == "official":
        notes.append("The test images are the dataset's official ones, the same in every fold.")
    return Caption(f"{table.dataset}{images}", table.synthetic, tuple(notes), _missing_folds(table))


def fold_note(table: DatasetTable) -> str:
    """Say what lines and bands are."""
    numbers = [len(row.runs) for row in table.models]
    if max(numbers) == 1:
        return "One fold only."
    folds = str(max(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
    return f"Lines: mean over {folds} folds; bands: ± one sample standard deviation."


def _missing_folds(table: DatasetTable) -> str:
    missing = {row.label: sorted(set(table.folds) - set(row.runs)) for row in table.models}
    models = "; ".join(f"{label} {_listed(folds)}" for label, folds in missing.items() if folds)
    return f"Missing folds (of {len(table.folds)}): {models}." if models else ""


def _classes_that_never_occur(table: DatasetTable) -> list[str]:
    absent = [
        name
        for name in table.category_names
        if all(
            math.isnan(value)
            for row in table.models
            for result in row.results.values()
            for value in result.panoptic_quality_by_category[name]
        )
    ]
    if len(absent) > _MOST_ABSENT:
        return [
            f"No image has {len(absent)} of the {len(table.category_names)} classes; no mean includes them."
        ]
    return [f"No image has the class {name}; no mean includes it." for name in absent]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
