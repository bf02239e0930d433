"""Says what a reader of a cross-validation table must know: whose images, which folds, what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.cross_validation.paper import PAPER_DATASETS
from modise_lightning.reporting.cross_validation.runs import FinishedRun, UnfinishedRun
from modise_lightning.reporting.results import RunIdentity


def table_notes(
    identity: RunIdentity,
    folds: Sequence[int],
    models: Sequence[ModelFolds],
    unfinished: Sequence[UnfinishedRun],
) -> list[str]:
    """Write the notes of a table, a sentence each.

    Args:
        identity: What the table's runs share.
        folds: Folds that a complete cross-validation has.
        models: Its rows.
        unfinished: Training runs without results on a dataset of this name.
    """
    return [
        *_dataset_notes(identity, models),
        *_normal_notes(identity),
        *_fold_notes(folds, models, unfinished),
        *_image_notes(identity, folds, models),
        *_category_notes(models),
    ]


def _dataset_notes(identity: RunIdentity, models: Sequence[ModelFolds]) -> list[str]:
    name, images = identity.dataset, identity.num_dataset_images
    notes = []
    if identity.synthetic:
        notes.append(f"All numbers are from synthetic images ({name}), not from patients.")
    if identity.data_split == "official":
        notes.append(
            "The test images are the dataset's official ones, the same in every fold: the deviation is that "
            "of the trainings, not of the test images."
        )
    if name not in PAPER_DATASETS:
        notes.append(f"The paper has no row of {name}: its tables are of {' and '.join(PAPER_DATASETS)}.")
        return notes
    paper = PAPER_DATASETS[name]
    if images is not None and images != paper.num_images:
        notes.append(f"The dataset has {images} images here, {paper.num_images} in the paper.")
    first = next(iter(models[0].results.values()))
    if set(first.category_names) != set(paper.category_names):
        classes = ", ".join(paper.category_names)
        notes.append(f"The classes are not the paper's ({classes}): its rows are left out.")
        return notes
    if identity.matching != "panopticapi":
        how = identity.matching or "in a way that the results do not name"
        notes.append(
            f"Segments were matched {how}, the paper's as panopticapi does: below T 0.5 only AP and Dice are "
            "comparable with its rows (metrics.matching=panopticapi)."
        )
    for row in models:
        own = next(iter(row.runs.values())).identity
        if row.model != "trained":
            continue
        if own.experiment is None:
            notes.append(f"{row.label} is none of the paper's six experiments: it has no row of the paper.")
        elif own.random_parts:
            notes.append(
                f"{row.label} had random weights in {', '.join(own.random_parts)}, where the paper has "
                "pretrained ones: its row and the paper's are not of the same model."
            )
    return notes


_WHERE_NORMALS_ARE = {
    "none": "none took part",
    "evaluation": "in validation and test, not in training",
    "all": "in training, validation and test",
}


def _normal_notes(identity: RunIdentity) -> list[str]:
    if not identity.num_normal_images:
        return []
    normals = str(identity.measurement.get("data.normals", "none"))
    where = _WHERE_NORMALS_ARE.get(normals, normals)
    paper = ""
    if identity.dataset in PAPER_DATASETS:
        paper = " The paper's rows are of images with lesions alone."
    return [
        f"{identity.num_normal_images} of the dataset's {identity.num_dataset_images} images are normal, "
        f"free of findings: {where} (data.normals={normals}).{paper}"
    ]


def _fold_notes(
    folds: Sequence[int], models: Sequence[ModelFolds], unfinished: Sequence[UnfinishedRun]
) -> list[str]:
    notes = []
    for row in models:
        missing = sorted(set(folds) - set(row.runs))
        if missing:
            notes.append(
                f"{row.label}: {len(missing)} of {len(folds)} folds are missing ({_numbers(missing)}); its "
                f"means are over fold {_numbers(row.runs)} only."
            )
        beyond = sorted(set(row.runs) - set(folds))
        if beyond:
            notes.append(f"{row.label}: fold {_numbers(beyond)} is beyond the dataset's {len(folds)} folds.")
    for run in unfinished:
        notes.append(unfinished_note(run))
    return notes


def unfinished_note(run: UnfinishedRun) -> str:
    """Say that a run left no results."""
    fold = "a fold" if run.fold is None else f"fold {run.fold}"
    return (
        f"{run.name} on {run.dataset}: the run of {fold} left no results (it crashed, was stopped, or is "
        f"still running): {run.folder}."
    )


def _image_notes(identity: RunIdentity, folds: Sequence[int], models: Sequence[ModelFolds]) -> list[str]:
    notes = []
    for fold in folds:
        numbers = {row.label: row.results[fold].num_images for row in models if fold in row.runs}
        if len(set(numbers.values())) > 1:
            each = ", ".join(f"{label} {number}" for label, number in numbers.items())
            notes.append(f"Fold {fold} was not tested on the same number of images: {each}.")
    images = identity.num_dataset_images
    if images is not None and "data.normals" not in identity.measurement:
        images -= identity.num_normal_images or 0
    for row in models:
        tested = sum(result.num_images for result in row.results.values())
        complete = set(row.runs) == set(folds) and identity.data_split == "folds"
        if complete and images is not None and tested != images:
            notes.append(f"{row.label}: the folds test {tested} of the dataset's {images} images.")
    return notes


def _category_notes(models: Sequence[ModelFolds]) -> list[str]:
    notes = []
    for row in models:
        for category in next(iter(row.results.values())).category_names:
            curves = {
                fold: result.panoptic_quality_by_category[category] for fold, result in row.results.items()
            }
            nowhere = [fold for fold, curve in curves.items() if all(map(math.isnan, curve))]
            if len(nowhere) == len(curves):
                notes.append(
                    f"{row.label}: the class {category} never occurs, neither in truth nor in prediction: no "
                    "mean includes it."
                )
            elif nowhere:
                notes.append(
                    f"{row.label}: the class {category} does not occur in fold {_numbers(nowhere)}, neither "
                    "in truth nor in prediction: these folds' means are over the other classes."
                )
            precision = {
                fold: result.average_precision_by_category[category] for fold, result in row.results.items()
            }
            without_truth = [
                fold
                for fold, curve in precision.items()
                if fold not in nowhere and all(map(math.isnan, curve))
            ]
            if without_truth:
                notes.append(
                    f"{row.label}: AP leaves the class {category} out in fold {_numbers(without_truth)}: no "
                    "true instance, or a class whose instances are not told apart."
                )
    return notes


def _numbers(folds: Sequence[int] | dict[int, FinishedRun]) -> str:
    return ", ".join(map(str, sorted(folds)))
