"""Makes the cards of a gallery: a test image as a picture, and its segments as outlines over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.html_report.data_uri import picture_uri, shrink
from modise_lightning.reporting.html_report.outcomes import ImageOutcome
from modise_lightning.reporting.html_report.outlines import outline_path
from modise_lightning.reporting.pictures.text import hex_color
from modise_lightning.structures import Category, PanopticSegmentation

# Part of a segment's pixels by which a prediction may differ from the recorded one before the card says so;
# chosen: another device moves single pixels of a border.
_SAME_AREA = 0.01


@dataclass(frozen=True)
class Outline:
    """A segment over a picture.

    Attributes:
        path: The ``d`` of an SVG path.
        color: Of its class, ``#rrggbb``.
        title: What it is.
    """

    path: str
    color: str
    title: str


@dataclass(frozen=True)
class Card:
    """An image of a gallery.

    Attributes:
        outcome: What the evaluation found in it.
        categories: Indices of the classes that occur in it, in truth or prediction.
        picture: Data URI.
        width: Of the picture in pixels.
        height: Likewise.
        void: Path around the pixels that no metric counts; empty for none.
        truth: Outlines of the true segments.
        prediction: Outlines of the panoptic segments.
        differs: Whether the segments that are drawn are not those that the evaluation counted.
    """

    outcome: ImageOutcome
    categories: tuple[int, ...]
    picture: str
    width: int
    height: int
    void: str
    truth: tuple[Outline, ...]
    prediction: tuple[Outline, ...]
    differs: bool


def make_card(
    outcome: ImageOutcome,
    row: ComparisonRow,
    categories: Sequence[Category],
    category_names: Sequence[str],
    *,
    longest_side: int,
    quality: int,
) -> Card:
    """Draw an image.

    Args:
        outcome: What the evaluation found in it.
        row: The image, its truth and its prediction, made again.
        categories: Names and colours of the dataset's classes.
        category_names: Classes of the evaluation.
        longest_side: Of the picture in pixels; a smaller image keeps its size.
        quality: Of the picture, 1 to 100.
    """
    image = shrink(row.image, longest_side)
    height, width = image.shape
    panoptic = row.prediction.panoptic
    occurring = {segment.category for segment in (*outcome.truth, *outcome.predicted)}
    return Card(
        outcome=outcome,
        categories=tuple(index for index, name in enumerate(category_names) if name in occurring),
        picture=picture_uri(image, quality),
        width=width,
        height=height,
        void=outline_path((row.target.segment_ids == -1).cpu().numpy(), width, height),
        truth=_outlines(row.target, categories, width, height, "ground truth"),
        prediction=_outlines(panoptic, categories, width, height, "prediction"),
        differs=not _are_recorded(panoptic, outcome, categories),
    )


def _outlines(
    segmentation: PanopticSegmentation, categories: Sequence[Category], width: int, height: int, what: str
) -> tuple[Outline, ...]:
    ids = segmentation.segment_ids.cpu().numpy()
    scores = [math.nan] * len(segmentation.labels)
    if segmentation.scores is not None:
        scores = segmentation.scores.tolist()
    outlines = []
    for index, (label, score) in enumerate(zip(segmentation.labels.tolist(), scores, strict=True)):
        path = outline_path(ids == index + 1, width, height)
        if path:
            category = categories[label]
            title = f"{what}: {category.name}" + ("" if math.isnan(score) else f", score {score:.2f}")
            outlines.append(Outline(path, hex_color(category.color), title))
    return tuple(outlines)


def _are_recorded(
    panoptic: PanopticSegmentation, outcome: ImageOutcome, categories: Sequence[Category]
) -> bool:
    areas = np.bincount(panoptic.segment_ids.clamp(min=0).cpu().numpy().ravel())
    drawn = [
        (index, categories[label].name, int(areas[index + 1]))
        for index, label in enumerate(panoptic.labels.tolist())
        if index + 1 < len(areas) and areas[index + 1]
    ]
    recorded = [(segment.index, segment.category, segment.area) for segment in outcome.predicted]
    return len(drawn) == len(recorded) and all(
        own[:2] == other[:2] and abs(own[2] - other[2]) <= _SAME_AREA * other[2]
        for own, other in zip(drawn, recorded, strict=True)
    )
