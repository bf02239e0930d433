"""Cases, which a radiologist decides on: breasts or patients, each with a score and a truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.clinical_settings import CaseLevel
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.segments.pairs import MAX_VOID_SHARE
from modise_lightning.structures import ImageRecord


@dataclass(frozen=True)
class Cases:
    """The cases of some images.

    Attributes:
        of_image: (I,) position of each image's case, in the order of the images.
        patients: (N,) patient of each case.
        scores: (N,) highest score of a suspicious prediction in any image of the case, in [0, 1]; 0 without.
        positive: (N,) whether any image of the case has a true segment of a suspicious class.
    """

    of_image: NDArray[np.int64]
    patients: NDArray[np.str_]
    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]


def patients_of(images: Sequence[ImageRecord]) -> list[str]:
    """Name the patient of each image; an image without one is a patient of its own."""
    return [image.patient_id or f"image {image.image_id}" for image in images]


def case_keys(images: Sequence[ImageRecord], level: CaseLevel) -> list[tuple[str, ...]]:
    """Name the case of each image: the patient, or the patient's examination and side.

    Args:
        images: Of an evaluation.
        level: What a case is.

    Raises:
        UserError: Some images do not say whom, or which breast, they show.
    """
    _check_known("patient", [image.patient_id for image in images], level)
    if level == "patient":
        return [(image.patient_id,) for image in images]
    _check_known("laterality", [image.laterality for image in images], level)
    return [(image.patient_id, image.study_id or "", image.laterality or "") for image in images]


def collect_cases(
    records: EvaluationRecords,
    images: Sequence[ImageRecord],
    *,
    level: CaseLevel,
    suspicious: Collection[str],
) -> Cases:
    """Give each case the highest score of its lesions, as picai_eval does, and its truth likewise.

    Args:
        records: Of an evaluation; its instances are the predicted lesions. One that is void by more than half
            does not count.
        images: What is known of each image of the records, in their order.
        level: What a case is.
        suspicious: Names of the classes that count.

    Raises:
        UserError: No image says whom, or which breast, it shows; or no class counts.
    """
    if not suspicious:
        raise UserError(
            "no class is called suspicious (metrics.suspicious): cases have neither score nor truth."
        )
    keys = case_keys(images, level)
    names = sorted(set(keys))
    position = {key: number for number, key in enumerate(names)}
    of_image = np.array([position[key] for key in keys], dtype=np.int64)
    segments = records.instances[records.instances["category"].isin(list(suspicious))]
    image_position = pd.Index([image.image_id for image in images])
    scores, positive = np.zeros(len(names)), np.zeros(len(names), dtype=np.bool_)
    truths = segments[segments["source"] == "truth"]
    positive[of_image[image_position.get_indexer(pd.Index(truths["image_id"]))]] = True
    lesions = segments[segments["source"] == "instance"]
    lesions = lesions[lesions["void_area"] <= MAX_VOID_SHARE * lesions["area"]]
    cases = of_image[image_position.get_indexer(pd.Index(lesions["image_id"]))]
    np.maximum.at(scores, cases, lesions["score"].to_numpy(np.float64))
    return Cases(of_image, np.array([key[0] for key in names], dtype=np.str_), scores, positive)


def _check_known(what: str, values: Sequence[str | None], level: CaseLevel) -> None:
    unknown = sum(not value for value in values)
    if unknown:
        raise UserError(
            f"{unknown} of {len(values)} images do not say their {what}, so that no {level} is a case."
        )
