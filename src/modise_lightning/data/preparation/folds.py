"""Cross-validation folds that never split a patient."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from modise_lightning.errors import UserError


def assign_folds(patient_ids: Sequence[str], strata: Sequence[str], num_folds: int, seed: int) -> list[int]:
    """Assign each image to a fold, grouped by patient and stratified.

    Args:
        patient_ids: Patient of each image.
        strata: Stratum of each image (its classes, say). One that is rarer than the folds is spread as far
            as it goes; where all are, the folds are even in size only.
        num_folds: Number of folds.
        seed: Of the shuffling.

    Returns:
        Fold in [0, num_folds) of each image; no fold is empty.

    Raises:
        UserError: There are fewer patients than folds.
    """
    patients = len(set(patient_ids))
    if patients < num_folds:
        raise UserError(f"folds: {patients} patients cannot make {num_folds} folds. Ask for fewer folds.")
    splitter = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    if max(Counter(strata).values()) < num_folds:  # scikit-learn refuses to stratify these at all
        strata = ["all"] * len(patient_ids)
    folds = np.full(len(patient_ids), -1)
    placeholder = np.zeros(len(patient_ids))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, members) in enumerate(splitter.split(placeholder, list(strata), list(patient_ids))):
            folds[members] = fold
    return [int(fold) for fold in folds]


def assign_normals(
    patient_ids: Sequence[str], fold_of_patient: Mapping[str, int], num_folds: int, seed: int
) -> list[int]:
    """Assign normal images to folds that images with lesions have made.

    A patient who has lesions too keeps the fold. The others, the one with the most images first, each go
    where the fewest normal images are, so that no two folds differ by more than a patient has.

    Args:
        patient_ids: Patient of each normal image.
        fold_of_patient: Fold of each patient with lesions.
        num_folds: Number of folds.
        seed: Of the order among patients with equally many images.

    Returns:
        Fold in [0, num_folds) of each normal image; a fold is empty where there are too few patients.
    """
    images = Counter(patient_ids)
    counts = [0] * num_folds
    folds = {}
    for patient in images:
        if patient in fold_of_patient:
            folds[patient] = fold_of_patient[patient]
            counts[folds[patient]] += images[patient]
    others = sorted(set(images) - set(folds))
    order = [others[index] for index in np.random.default_rng(seed).permutation(len(others))]
    for patient in sorted(order, key=lambda patient: -images[patient]):
        folds[patient] = counts.index(min(counts))
        counts[folds[patient]] += images[patient]
    return [folds[patient] for patient in patient_ids]
