"""Draws the gallery of a folder's predictions, from the images and what was measured in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faster_coco_eval.core import mask as coco_mask
from rich.progress import track

from modise_lightning.console import Console
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.tables.rows import Finished
from modise_lightning.reporting.html_report.cards import Outline
from modise_lightning.reporting.html_report.data_uri import picture_uri, shrink
from modise_lightning.reporting.html_report.outlines import outline_path
from modise_lightning.reporting.html_report.predictions import PredictedCard, PredictedLesion
from modise_lightning.reporting.pictures.text import hex_color
from modise_lightning.structures import Category

# Chosen: some 24 kB an image with its outlines, and borders of lesions can be followed.
_LONGEST_SIDE = 640
_QUALITY = 80


def make_cards(
    images: Sequence[Finished], categories: Sequence[Category], *, most: int, limits: ArchiveLimits
) -> list[PredictedCard]:
    """Draw at most ``most`` images, those with the highest scores, in their order.

    Args:
        images: That are predicted.
        categories: Names and colours of the classes.
        most: Number of images.
        limits: Of archives.
    """

    def highest(index: int) -> float:
        return max((lesion["score"] for lesion in images[index][1].lesions), default=0.0)

    chosen = sorted(sorted(range(len(images)), key=lambda index: -highest(index))[:most])
    shown = track(chosen, "gallery", console=Console(stderr=True), transient=True)
    return [_make_card(images[index], categories, limits) for index in shown]


def _make_card(image: Finished, categories: Sequence[Category], limits: ArchiveLimits) -> PredictedCard:
    planned, finished = image
    picture = shrink(read_image_file(planned.task.image.file(limits), planned.task.pixels), _LONGEST_SIDE)
    height, width = picture.shape
    numbers = {category.name: index for index, category in enumerate(categories)}
    return PredictedCard(
        name=planned.task.label,
        exam="" if planned.place.exam == "." else planned.place.exam,  # the folder itself needs no name
        laterality=planned.place.laterality,
        view=planned.place.view,
        picture=picture_uri(picture, _QUALITY),
        width=width,
        height=height,
        lesions=tuple(
            _describe(lesion, numbers[lesion["class"]], categories, width, height)
            for lesion in sorted(finished.lesions, key=lambda lesion: -lesion["score"])
        ),
    )


def _describe(
    lesion: Mapping[str, Any], label: int, categories: Sequence[Category], width: int, height: int
) -> PredictedLesion:
    millimetres = lesion.get("longest_diameter_mm")
    size = f"{lesion['longest_diameter']:.0f} pixels" if millimetres is None else f"{millimetres:.1f} mm"
    category = categories[label]
    path = outline_path(coco_mask.decode(lesion["segmentation"]).astype(bool), width, height)
    title = f"{category.name}, score {lesion['score']:.2f}, {size}"
    return PredictedLesion(label, lesion["score"], size, Outline(path, hex_color(category.color), title))
