"""Bootstrap intervals of differences in panoptic quality, over patients, from the records of evaluations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.metrics.records.counts import count_recorded_images
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.metrics.segments.matching import Matching


@dataclass(frozen=True)
class PatientCounts:
    """What panoptic quality at one threshold is made of, by patient, of one fold of one model.

    Attributes:
        image_ids: Images of the fold.
        patients: Their P patients, sorted. An image without a patient is a patient of its own.
        counts: (P, 4, K) true positives, false positives, false negatives and IoU sum of each of P patients
            and K classes.
    """

    image_ids: list[int]
    patients: tuple[str, ...]
    counts: NDArray[np.float64]

    @classmethod
    def read(
        cls, folder: Path, result: EvaluationResult, *, threshold: float, matching: str
    ) -> PatientCounts:
        """Count the records of an evaluation.

        Args:
            folder: Of the records.
            result: Of the same evaluation.
            threshold: IoU threshold.
            matching: How its segments were matched.

        Raises:
            UserError: The records are damaged, or do not give the result's panoptic quality.
        """
        if matching not in get_args(Matching):
            raise UserError(
                f"{folder.parents[1]}: unknown matching '{matching}'; known: {get_args(Matching)}."
            )
        records = read_records(folder)
        image_ids = records.images["image_id"].tolist()
        by_image = count_recorded_images(
            records.instances,
            records.overlaps,
            image_ids=image_ids,
            category_names=result.category_names,
            thresholds=[threshold],
            matching=cast(Matching, matching),
        )
        images = np.array(
            [
                [*(getattr(each, name)[0].tolist() for name in _COUNTS), each.iou_sum[0].tolist()]
                for each in by_image
            ]
        )
        patients = [
            patient or f"image {image_id}"
            for patient, image_id in zip(records.images["patient_id"], image_ids, strict=True)
        ]
        names, patient_of_image = np.unique(patients, return_inverse=True)
        counts = np.zeros((len(names), *images.shape[1:]))
        np.add.at(counts, patient_of_image, images)
        found = float(_nanmean(_quality_by_class(counts.sum(0))["PQ"], -1))
        expected = result.at(threshold)["panoptic_quality"]
        if not math.isclose(found, expected, abs_tol=1e-9) and not (
            math.isnan(found) and math.isnan(expected)
        ):
            raise UserError(
                f"{folder}: the records give a panoptic quality of {found} at {threshold}, the results "
                f"{expected}: they are not of one evaluation."
            )
        return cls(image_ids, tuple(names.tolist()), counts)


_COUNTS = ("true_positives", "false_positives", "false_negatives")


@dataclass(frozen=True)
class BootstrapDifference:
    """How the mean difference of a metric between two trained models varies with the patients.

    Attributes:
        low: Lower bound of the interval.
        high: Upper bound.
        deviation: Standard deviation over the samples.
    """

    low: float
    high: float
    deviation: float


def bootstrap_differences(
    folds: Sequence[tuple[PatientCounts, PatientCounts]], *, samples: int, confidence: float, seed: int
) -> dict[str, BootstrapDifference]:
    """Estimate the intervals of the mean differences of RQ, SQ and PQ between two models.

    In each sample patients are drawn anew, with replacement, the same ones for both models: those of each
    fold for itself, and those that several folds share (an official test set) once for all these folds. A
    class that a sample does not show for both models is no part of that fold's mean.

    The trainings stay as they are: the interval leaves out the variance between trainings.

    Args:
        folds: Counts of both models on the same images, one pair a fold; two folds test the same patients or
            have none in common.
        samples: Number of samples.
        confidence: In (0, 1): the percentiles (1 - confidence) / 2 and (1 + confidence) / 2 are given.
        seed: Of the draws.

    Returns:
        Of first minus second, by metric.
    """
    generator = np.random.default_rng(seed)
    differences: dict[str, list[NDArray[np.float64]]] = {"RQ": [], "SQ": [], "PQ": []}
    drawn: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for first, second in folds:
        patients = len(first.patients)
        if first.patients not in drawn:
            drawn[first.patients] = generator.multinomial(
                patients, np.full(patients, 1 / patients), size=samples
            )
        weights = drawn[first.patients]
        own, other = (
            _quality_by_class(np.einsum("sp,pck->sck", weights, each.counts)) for each in (first, second)
        )
        for metric, values in differences.items():
            # NaN in either one leaves the class out of the mean.
            values.append(_nanmean(own[metric] - other[metric], -1))
    bounds = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for metric, values in differences.items():
        means = _nanmean(np.stack(values), 0)
        low, high = np.nanquantile(means, bounds)
        intervals[metric] = BootstrapDifference(float(low), float(high), float(np.nanstd(means)))
    return intervals


def _quality_by_class(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Give RQ, SQ and PQ of counts (..., 4, K); NaN for a class that does not occur."""
    matched, false_positives, false_negatives, iou_sum = np.moveaxis(counts, -2, 0)
    weight = matched + false_positives / 2 + false_negatives / 2
    occurs = np.where(weight > 0, 1.0, np.nan)
    recognition = matched / np.where(weight > 0, weight, 1) * occurs
    segmentation = iou_sum / np.where(matched > 0, matched, 1) * occurs
    return {"RQ": recognition, "SQ": segmentation, "PQ": recognition * segmentation}


def _nanmean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")  # NaN is what is wanted
        return np.asarray(np.nanmean(values, axis))
