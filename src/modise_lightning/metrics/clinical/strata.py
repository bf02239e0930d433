"""Sensitivity and mean IoU of lesions by size, class, view, density, modality, dataset and fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.structures import ImageRecord

_NOT_SAID = "not said"
# What strata an image belongs to; each is left out where no image says it.
_OF_IMAGE: dict[str, Callable[[ImageRecord], str | None]] = {
    "view": lambda image: image.view,
    "side": lambda image: image.laterality,
    "density": lambda image: image.density,
    "modality": lambda image: image.modality,
    "dataset": lambda image: image.source,
    "fold": lambda image: None if image.fold is None else str(image.fold),
}


@dataclass(frozen=True)
class Stratum:
    """The lesions of a stratum.

    Attributes:
        by: What lesions are told apart by: ``all``, ``class``, ``size (mm)``, ``view``, ...
        level: Which of them these are.
        lesions: True segments.
        found: Those that a panoptic segment of their class overlaps with an IoU above the threshold.
        iou_sum: Of the found ones, the largest such IoU of each.
    """

    by: str
    level: str
    lesions: int
    found: int
    iou_sum: float

    @property
    def sensitivity(self) -> float:
        """Share of the lesions that are found; NaN without any."""
        return self.found / self.lesions if self.lesions else float("nan")

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the found lesions; NaN without any."""
        return self.iou_sum / self.found if self.found else float("nan")

    def interval(self, confidence: float) -> tuple[float, float]:
        """Give Wilson's interval of the sensitivity (Wilson 1927), as if lesions were independent.

        Args:
            confidence: In (0, 1).
        """
        if not self.lesions:
            return float("nan"), float("nan")
        bounds = binomtest(self.found, self.lesions).proportion_ci(confidence, method="wilson")
        return float(bounds.low), float(bounds.high)


def stratify(
    records: EvaluationRecords,
    *,
    threshold: float,
    size_edges_mm: Sequence[float],
    size_edges_share: Sequence[float],
) -> tuple[list[Stratum], dict[str, str]]:
    """Count the lesions of each stratum, and those that are found.

    Args:
        records: Of an evaluation.
        threshold: A lesion is found where the IoU is larger.
        size_edges_mm: Between the strata of size where the spacing of all images is known: equivalent
            diameters, those of circles of the lesions' areas, in millimetres.
        size_edges_share: Likewise elsewhere, as shares of the image's longer side.

    Returns:
        Strata, and what cannot be told apart, with the reason.
    """
    images = describe_images(records.images, records.clinical)
    lesions = _lesions(records, threshold)
    image_of = {image.image_id: image for image in images}
    own = [image_of[image_id] for image_id in lesions["image_id"].tolist()]
    keys: dict[str, list[str]] = {"all": ["all"] * len(lesions), "class": lesions["category"].tolist()}
    missing: dict[str, str] = {}
    if records.clinical is None:
        missing["size"] = "the records do not say how large images are: evaluate with metrics=clinical"
    else:
        has_spacing = all(image.spacing_mm is not None for image in images)
        keys |= _sizes(
            lesions["area"].to_numpy(np.float64), own, has_spacing, size_edges_mm, size_edges_share
        )
    for by, read in _OF_IMAGE.items():
        if all(read(image) is None for image in images):
            missing[by] = f"no image says its {by}"
        else:
            keys[by] = [read(image) or _NOT_SAID for image in own]
    strata = []
    for by, levels in keys.items():
        for level, rows in sorted(lesions.groupby(levels), key=lambda each: _order(str(each[0]))):
            found = rows["iou"] > threshold
            total = float(rows["iou"][found].sum())
            strata.append(Stratum(by, str(level), len(rows), int(found.sum()), total))
    return strata, missing


def strata_of_images(
    records: EvaluationRecords, *, size_edges_mm: Sequence[float], size_edges_share: Sequence[float]
) -> dict[int, list[tuple[str, str]]]:
    """Give the strata of each image, as kind and level: its own, and the sizes and classes of its lesions.

    Args:
        records: Of an evaluation, with clinical ones.
        size_edges_mm: See ``stratify``.
        size_edges_share: See ``stratify``.

    Returns:
        By ``image_id``; what no image says is left out.
    """
    images = describe_images(records.images, records.clinical)
    normal = is_normal(images, records.images["num_truth"].tolist())
    strata = {
        image.image_id: {("findings", "normal" if none else "not normal"): None}
        for image, none in zip(images, normal.tolist(), strict=True)
    }
    segments = records.instances
    lesions = segments[segments["source"] == "truth"]
    image_of = {image.image_id: image for image in images}
    own = [image_of[image_id] for image_id in lesions["image_id"].tolist()]
    has_spacing = all(image.spacing_mm is not None for image in images)
    area = lesions["area"].to_numpy(np.float64)
    for by, levels in _sizes(area, own, has_spacing, size_edges_mm, size_edges_share).items():
        for image, level in zip(own, levels, strict=True):
            strata[image.image_id][by, level] = None
    for by, read in _OF_IMAGE.items():
        if any(read(image) is not None for image in images):
            for image in images:
                strata[image.image_id][by, read(image) or _NOT_SAID] = None
    return {image_id: list(own) for image_id, own in strata.items()}


def sort_strata(strata: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Give the levels of each kind in order, sizes by their numbers."""
    levels: dict[str, list[str]] = {}
    for by, level in dict.fromkeys(strata):
        levels.setdefault(by, []).append(level)
    return {by: sorted(own, key=_order) for by, own in levels.items()}


def is_normal(images: Sequence[ImageRecord], num_truth: Sequence[int]) -> NDArray[np.bool_]:
    """Say which images are normal: as the source says, else those without a true segment."""
    return np.array(
        [
            not number if image.normal is None else image.normal
            for image, number in zip(images, num_truth, strict=True)
        ],
        dtype=np.bool_,
    )


def pool_strata(folds: Sequence[Sequence[Stratum]]) -> list[Stratum]:
    """Add up the strata of folds, whose lesions are different ones.

    Args:
        folds: Strata of each.
    """
    sums: dict[tuple[str, str], list[float]] = {}
    for each in (stratum for strata in folds for stratum in strata):
        total = sums.setdefault((each.by, each.level), [0, 0, 0.0])
        total[0] += each.lesions
        total[1] += each.found
        total[2] += each.iou_sum
    kinds = list(dict.fromkeys(by for by, _ in sums))
    ordered = sorted(sums, key=lambda key: (kinds.index(key[0]), _order(key[1])))
    return [Stratum(*key, int(sums[key][0]), int(sums[key][1]), sums[key][2]) for key in ordered]


def _lesions(records: EvaluationRecords, threshold: float) -> pd.DataFrame:
    """Give the true segments with the largest IoU of a panoptic segment of their class, 0 without any."""
    segments = records.instances
    truths = segments[segments["source"] == "truth"][["image_id", "index", "category", "area"]]
    predictions = segments[segments["source"] == "panoptic"][["image_id", "index", "category"]]
    pairs = records.overlaps[records.overlaps["source"] == "panoptic"]
    pairs = pairs.merge(
        predictions, left_on=["image_id", "predicted_index"], right_on=["image_id", "index"]
    ).merge(
        truths,
        left_on=["image_id", "true_index", "category"],
        right_on=["image_id", "index", "category"],
        suffixes=("_predicted", ""),
    )
    best = pairs.groupby(["image_id", "index"])["iou"].max().reset_index()
    joined = truths.merge(best, on=["image_id", "index"], how="left")
    joined["iou"] = joined["iou"].fillna(0.0)
    return joined


def _sizes(
    area: NDArray[np.float64],
    of_lesion: Sequence[ImageRecord],
    has_spacing: bool,
    edges_mm: Sequence[float],
    edges_share: Sequence[float],
) -> dict[str, list[str]]:
    """Name the bin of each lesion's equivalent diameter, in millimetres or as a share of the image."""
    diameter = 2 * np.sqrt(area / np.pi)
    if has_spacing:
        pixel = np.array([float(np.prod(image.spacing_mm or (1, 1))) for image in of_lesion])
        return {"size (mm)": _bins(diameter * np.sqrt(pixel), edges_mm)}
    side = np.array([max(image.height, image.width) for image in of_lesion], dtype=np.float64)
    return {"size (share of the image)": _bins(diameter / side, edges_share)}


def _bins(values: np.ndarray, edges: Sequence[float]) -> list[str]:
    """Name the bin of each value; a bin holds its lower edge."""
    bounds = [0.0, *edges]
    names = [*(f"{low:g} to {high:g}" for low, high in pairwise(bounds)), f"from {bounds[-1]:g}"]
    return [names[position] for position in np.searchsorted(np.asarray(edges), values, side="right")]


def _order(level: str) -> tuple[bool, float, str]:
    """Sort bins by their lower edge, other levels by name, what is not said last."""
    number = level.removeprefix("from ").split(" to ")[0]
    try:
        return level == _NOT_SAID, float(number), level
    except ValueError:
        return level == _NOT_SAID, 0.0, level
