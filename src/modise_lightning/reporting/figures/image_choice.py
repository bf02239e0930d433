"""Chooses the images of a qualitative grid: the best, median and worst by Dice, or given ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from modise_lightning.errors import UserError
from modise_lightning.reporting.figures.model_records import ModelRecords


@dataclass(frozen=True)
class ChosenImage:
    """An image that every model was tested on.

    Attributes:
        image_id: In its dataset.
        fold: The first test fold that has it for all models.
        file_name: In its dataset.
        reason: Why it is shown: ``best``, ``median``, ``worst`` or ``chosen``.
        dice: Of each model, in [0, 1]; NaN where nothing is there and nothing is predicted.
    """

    image_id: int
    fold: int
    file_name: str
    reason: str
    dice: dict[str, float]


def choose_images(
    models: Sequence[ModelRecords], *, images: Sequence[int] | None, best: int, median: int, worst: int
) -> list[ChosenImage]:
    """Choose the same images for all models.

    Images are ranked by their Dice, the mean of the models', among those for which every model has one; of
    equal ones the lower id ranks higher.

    Args:
        models: Of one dataset.
        images: Ids to show; None chooses by rank.
        best: How many of the highest.
        median: How many around the middle.
        worst: How many of the lowest.

    Raises:
        UserError: An image was not tested with every model, or too few were.
    """
    table = _common_images(models)
    labels = [model.row.label for model in models]
    if images is not None:
        unknown = sorted(set(images) - set(table.index))
        if unknown:
            raise UserError(
                f"qualitative_grid.images: no fold has tested image {unknown[0]} with {' and '.join(labels)}"
                "; the ids are in a run's records/<model>/images.csv."
            )
        return [_chosen(table, labels, image_id, "chosen") for image_id in dict.fromkeys(images)]
    ranked = table[labels].mean(axis=1, skipna=False).dropna()
    ranked = ranked.sort_index().sort_values(ascending=False, kind="stable")
    wanted = best + median + worst
    if wanted > len(ranked):
        raise UserError(
            f"qualitative_grid: {wanted} images are wanted (best, median, worst), but only {len(ranked)} "
            f"were tested with {' and '.join(labels)} and have a Dice."
        )
    order = ranked.index.tolist()
    # The middle of all images, moved only as far as the best and the worst ones need.
    middle = min(max((len(order) - median) // 2, best), len(order) - worst - median)
    parts = {
        "best": order[:best],
        "median": order[middle : middle + median],
        "worst": order[len(order) - worst :],
    }
    return [_chosen(table, labels, image_id, reason) for reason, ids in parts.items() for image_id in ids]


def _common_images(models: Sequence[ModelRecords]) -> pd.DataFrame:
    """Give the images that all models tested in the same fold: ``fold``, ``file_name``, each model's Dice."""
    common: pd.DataFrame | None = None
    for model in models:
        parts = [
            records.images[["image_id", "file_name", "dice"]].assign(fold=fold)
            for fold, records in sorted(model.by_fold.items())
        ]
        own = pd.concat(parts, ignore_index=True).set_index(["fold", "image_id"])
        own = own.rename(columns={"dice": model.row.label})
        common = own if common is None else common.join(own[[model.row.label]], how="inner")
    if common is None:
        raise ValueError("there are no models to choose images for.")
    # With official test images every fold has them: the first one counts.
    by_image = common.reset_index().sort_values("fold", kind="stable").drop_duplicates("image_id")
    return by_image.set_index("image_id")


def _chosen(table: pd.DataFrame, labels: Sequence[str], image_id: int, reason: str) -> ChosenImage:
    row: Any = table.loc[image_id]
    dice = {label: float(row[label]) for label in labels}
    return ChosenImage(image_id, int(row["fold"]), str(row["file_name"]), reason, dice)
