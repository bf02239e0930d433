"""Measures what was predicted in an image: a row for each lesion, in pixels and in millimetres."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.metrics.segments.run_length import run_lengths
from modise_lightning.structures import Category, Prediction

_DECIMALS = 3
_SCORE_DECIMALS = 6


@dataclass(frozen=True)
class LesionSettings:
    """Which masks are lesions.

    Attributes:
        source: The panoptic ``segments`` of thing classes, which do not overlap, or all scored ``instances``.
        minimum_score: Those with a lower score are left out.
        uncertainty: Whether it is measured, for which the semantic map is made.
    """

    source: Literal["segments", "instances"]
    minimum_score: float
    uncertainty: bool


@dataclass(frozen=True)
class Lesion:
    """A mask with its class and score.

    Attributes:
        label: Class index.
        score: In [0, 1].
        mask: (H, W) bool.
    """

    label: int
    score: float
    mask: NDArray[np.bool_]


def find_lesions(
    prediction: Prediction, categories: Sequence[Category], settings: LesionSettings
) -> Iterator[Lesion]:
    """Give the lesions of an image from the highest score to the lowest; of equal ones the earlier first."""
    if settings.source == "instances":
        instances = prediction.instances
        labels, scores = instances.labels.tolist(), instances.scores.tolist()
        order = sorted(range(len(labels)), key=lambda index: -scores[index])
        kept = [index for index in order if scores[index] >= settings.minimum_score]
        chosen = torch.tensor(kept, dtype=torch.int64, device=instances.labels.device)
        masks: Iterator[torch.Tensor] = iter(instances.packed[chosen])
    else:
        panoptic = prediction.panoptic
        labels = panoptic.labels.tolist()
        scores = [1.0] * len(labels) if panoptic.scores is None else panoptic.scores.tolist()
        order = sorted(range(len(labels)), key=lambda index: -scores[index])
        kept = [
            index
            for index in order
            if categories[labels[index]].isthing and scores[index] >= settings.minimum_score
        ]
        masks = panoptic.each_mask(kept)
    for index, mask in zip(kept, masks, strict=True):
        pixels = mask.cpu().numpy()
        if pixels.any():
            yield Lesion(labels[index], scores[index], pixels)


def measure_lesion(
    lesion: Lesion,
    prediction: Prediction,
    categories: Sequence[Category],
    spacing_mm: tuple[float, float] | None,
) -> dict[str, Any]:
    """Measure a lesion.

    Args:
        lesion: One of the prediction's.
        prediction: Of the image.
        categories: Names of the classes.
        spacing_mm: Height and width of a pixel; None where it is not known, and so are millimetres.

    Returns:
        By name: class; score; box (``x``, ``y``, ``width``, ``height``); centroid, from the image's upper
        left corner; area; longest and shortest diameter of the outline (the greatest and the least distance
        of two parallel lines that touch it on both sides: Feret's); ``uncertainty``, the mean over the
        lesion's pixels of the entropy, in bits, of whether a pixel shows any lesion (0 sure, 1 undecided),
        where the prediction has a semantic map; ``disagreement``, the part of it that is between several
        members, where there are some; and ``segmentation``, the mask in COCO's run lengths.
    """
    x, y, width, height = cv2.boundingRect(lesion.mask.view(np.uint8))
    cut = lesion.mask[y : y + height, x : x + width]
    rows, columns = np.nonzero(cut)
    center_x, center_y = x + columns.mean() + 0.5, y + rows.mean() + 0.5
    longest, shortest = diameters(cut, (1.0, 1.0))
    measured: dict[str, Any] = {
        "class": categories[lesion.label].name,
        "score": round(lesion.score, _SCORE_DECIMALS),
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "centroid_x": round(float(center_x), _DECIMALS),
        "centroid_y": round(float(center_y), _DECIMALS),
        "area": len(rows),
        "longest_diameter": round(longest, _DECIMALS),
        "shortest_diameter": round(shortest, _DECIMALS),
    }
    if spacing_mm is not None:
        row_mm, column_mm = spacing_mm
        longest, shortest = diameters(cut, spacing_mm)
        in_mm = {
            "x_mm": x * column_mm,
            "y_mm": y * row_mm,
            "width_mm": width * column_mm,
            "height_mm": height * row_mm,
            "centroid_x_mm": float(center_x) * column_mm,
            "centroid_y_mm": float(center_y) * row_mm,
            "area_mm2": len(rows) * row_mm * column_mm,
            "longest_diameter_mm": longest,
            "shortest_diameter_mm": shortest,
        }
        measured.update({name: round(value, _DECIMALS) for name, value in in_mm.items()})
    if prediction.uncertainty is not None:
        for name, values in (
            ("uncertainty", prediction.uncertainty.entropy),
            ("disagreement", prediction.uncertainty.disagreement),
        ):
            own = values[y : y + height, x : x + width].cpu().numpy()[cut]
            measured[name] = round(float(own.mean(dtype=np.float64)), _DECIMALS)
    elif len(prediction.semantic):
        semantic = prediction.semantic[:, y : y + height, x : x + width]
        if len(semantic) == len(categories):  # else all things are together already
            semantic = semantic[[index for index, category in enumerate(categories) if category.isthing]]
        shown = semantic.sum(0).cpu().numpy()
        measured["uncertainty"] = round(_mean_entropy(shown[cut]), _DECIMALS)
    measured["segmentation"] = run_lengths(lesion.mask)
    return measured


def diameters(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[float, float]:
    """Measure the greatest and the least distance of two parallel lines that enclose a mask.

    Pixels are squares: a single one is as long as its diagonal and as narrow as its side.

    Args:
        mask: (h, w) bool with at least one pixel.
        spacing: Height and width of a pixel, in the unit of the result.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    pixels = np.concatenate([contour[:, 0] for contour in contours]).astype(np.float64)
    corners = np.concatenate([pixels + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))])
    # The hull of whole numbers is exact; scaling its axes leaves it convex.
    hull = cv2.convexHull(corners.astype(np.int32))[:, 0].astype(np.float64) * (spacing[1], spacing[0])
    longest = float(np.sqrt(((hull[:, None] - hull[None]) ** 2).sum(-1)).max())
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    across = hull @ normals.T
    return longest, float((across.max(0) - across.min(0)).min())


def _mean_entropy(sums: NDArray[Any]) -> float:
    share = np.clip(sums.astype(np.float64), 0, 1)
    inside = share[(share > 0) & (share < 1)]
    bits = -(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside))
    return float(bits.sum() / share.size)
