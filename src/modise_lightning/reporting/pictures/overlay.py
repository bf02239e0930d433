"""Draws segments over an image: a translucent fill, a crisp outline, and a label beside each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.labels import Label, draw_labels
from modise_lightning.reporting.pictures.text import Color
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation

_VOID_COLOR = (128, 128, 128)
_FILL = 0.2  # share of the colour in the fill: the tissue below stays readable
_SHADOW = 0.5  # share of black around an outline, which sets it off from bright tissue
_OUTLINES_PER_SIDE = 400  # width of an outline as a part of the image's longer side
_LEAST_OUTLINE = 1.2
_LETTERS_PER_SIDE = 44  # height of the text likewise
_LEAST_LETTER = 11


def to_grey_picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn (H, W) values in [0, 1] into an (H, W, 3) grey picture."""
    grey = np.clip(image, 0, 1)
    grey *= 255
    return np.repeat(grey.round(out=grey).astype(np.uint8)[..., None], 3, axis=2)


def draw_overlay(
    image: NDArray[np.float32],
    segmentation: PanopticSegmentation,
    categories: Sequence[Category],
    *,
    show_labels: bool = True,
) -> NDArray[np.uint8]:
    """Draw the segments of an image.

    Args:
        image: (H, W) in [0, 1]; resized to the segmentation's size if it differs.
        segmentation: Segments at (h, w); void is grey.
        categories: Names and colours of the classes.
        show_labels: Whether class names, and scores if there are any, stand beside the segments.

    Returns:
        (h, w, 3) RGB.
    """
    ids = segmentation.segment_ids.cpu().numpy()
    scores = None if segmentation.scores is None else segmentation.scores.tolist()
    masks = _SegmentMasks(ids, len(segmentation.labels))
    picture = _resize(image, ids.shape[0], ids.shape[1])
    void = ids == -1
    if void.any():
        picture = _draw_masks(picture, [void], [_VOID_COLOR], [""])
    return _draw(picture, masks, segmentation.labels.tolist(), scores, categories, show_labels)


class _SegmentMasks:
    """The masks of the segments 1..N of a map, made anew each time that they are gone through."""

    def __init__(self, ids: NDArray[np.int64], number: int) -> None:
        self._ids = ids
        self._number = number

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self._ids == number for number in range(1, self._number + 1))


def draw_instances(
    image: NDArray[np.float32],
    instances: InstanceSegmentation,
    categories: Sequence[Category],
    *,
    show_labels: bool = True,
) -> NDArray[np.uint8]:
    """Draw overlapping masks and their labels, the more certain ones on top.

    Args:
        image: (H, W) in [0, 1]; resized to the masks' size if it differs.
        instances: Masks at (h, w).
        categories: Names and colours of the classes.
        show_labels: Whether class names and scores stand beside the masks.

    Returns:
        (h, w, 3) RGB.
    """
    order = instances.scores.argsort()
    masks = [mask.cpu().numpy() for mask in instances.packed[order]]
    labels, scores = instances.labels[order].tolist(), instances.scores[order].tolist()
    _, height, width = instances.packed.shape
    return _draw(_resize(image, height, width), masks, labels, scores, categories, show_labels)


def _resize(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    if image.shape != (height, width):
        interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.float32)
    return to_grey_picture(image)


def _draw(
    picture: NDArray[np.uint8],
    masks: Iterable[NDArray[np.bool_]],
    labels: Sequence[int],
    scores: Sequence[float] | None,
    categories: Sequence[Category],
    show_labels: bool,
) -> NDArray[np.uint8]:
    names = [categories[label].name for label in labels]
    if scores is not None:
        names = [f"{name} {score:.2f}" for name, score in zip(names, scores, strict=True)]
    colors = [categories[label].color for label in labels]
    return _draw_masks(picture, masks, colors, names if show_labels else [""] * len(names))


def _draw_masks(
    picture: NDArray[np.uint8],
    masks: Iterable[NDArray[np.bool_]],
    colors: Sequence[Color],
    texts: Sequence[str],
) -> NDArray[np.uint8]:
    """Draw the fills of all masks, then the outlines, then the labels; masks without pixels are left out.

    The masks are gone through several times.
    """
    side = max(picture.shape[:2])
    width = max(_LEAST_OUTLINE, side / _OUTLINES_PER_SIDE)
    picture = picture.copy()
    boxes = [cv2.boundingRect(mask.view(np.uint8)) for mask in masks]
    for mask, color, (x, y, box_width, box_height) in zip(masks, colors, boxes, strict=True):
        area = (slice(y, y + box_height), slice(x, x + box_width))
        picture[area] = _blend(picture[area], _FILL * mask[area], color)
    occupied = np.zeros(picture.shape[:2], dtype=bool)
    for mask, color, box in zip(masks, colors, boxes, strict=True):
        if box[2] and box[3]:
            _draw_outline(picture, mask, box, color, width)
            occupied |= mask
    labels = [
        Label(text, color, (box[0], box[1], box[2], box[3]))
        for text, color, box in zip(texts, colors, boxes, strict=True)
        if text and box[2] and box[3]
    ]
    letters = max(_LEAST_LETTER, round(side / _LETTERS_PER_SIDE))
    # The last mask is on top, so its label has the first choice of a place.
    return draw_labels(picture, labels[::-1], occupied, letters) if labels else picture


def _draw_outline(
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    box: Sequence[int],
    color: Color,
    width: float,
) -> None:
    """Draw a smooth line and its shadow just outside of a mask, so that it hides nothing of the mask."""
    x, y, box_width, box_height = box
    margin = math.ceil(4 * width) + 2
    area = (
        slice(max(0, y - margin), y + box_height + margin),
        slice(max(0, x - margin), x + box_width + margin),
    )
    inside = mask[area].astype(np.uint8)
    # Distance in pixels to the mask's border, positive inside; smoothed, because masks have stairs for
    # slopes.
    distance = np.where(
        mask[area],
        cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) - 0.5,
        0.5 - cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
    )
    distance = np.asarray(cv2.GaussianBlur(distance, (0, 0), 0.75 * width), dtype=np.float32)
    shadow = _SHADOW * _between(distance, -2 * width, 0)
    picture[area] = _blend(picture[area], shadow, (0, 0, 0))
    picture[area] = _blend(picture[area], _between(distance, -width, 0), color)


def _between(distance: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Give the share of each pixel that lies between two distances."""
    share = np.minimum(distance - low, high - distance) + 0.5
    return np.asarray(share.clip(0, 1), dtype=np.float32)


def _blend(picture: NDArray[np.uint8], share: NDArray[np.floating], color: Color) -> NDArray[np.uint8]:
    blended = np.empty_like(picture)
    # Row by row: the numbers in between take eight times the memory of the picture.
    for row, old, part in zip(blended, picture, share, strict=True):
        row[:] = (old + part[:, None] * (np.asarray(color, dtype=np.float32) - old)).round()
    return blended
