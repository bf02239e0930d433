"""A sheet of many images with their segments outlined, to see at a glance what a dataset holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.overlay import draw_overlay
from modise_lightning.reporting.pictures.text import draw_texts, shorten_text, text_size
from modise_lightning.structures import Category, PanopticSegmentation

_CELL = 300  # pixels of a cell's side
_GAP = 8
_TEXT = 14
_LINE = int(_TEXT * 1.6)
_INK = (235, 235, 235)
_PAPER = 18


@dataclass(frozen=True)
class ContactSheetImage:
    """One image of the sheet.

    Attributes:
        name: Written under the image.
        image: (H, W) float in [0, 1].
        segmentation: Its segments, at (H, W).
    """

    name: str
    image: NDArray[np.float32]
    segmentation: PanopticSegmentation


def draw_contact_sheet(
    images: Iterable[ContactSheetImage], categories: Sequence[Category], note: str | None, columns: int = 6
) -> NDArray[np.uint8]:
    """Draw the sheet; one image at a time is held in its full size.

    Args:
        images: From left to right, then from top to bottom; at least one.
        categories: Names and colours of the classes, shown as a legend.
        note: A line at the bottom (that the data is synthetic, or its attribution).
        columns: Images a row.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: There are no images.
    """
    cells = [(image.name, _draw_cell(image, categories)) for image in images]
    if not cells:
        raise ValueError("A contact sheet needs at least one image.")
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    legend_width = sum(_legend_width(category) for category in categories)
    note_width = text_size(note, _TEXT)[0] if note is not None else 0
    width = max(columns * (_CELL + _GAP), legend_width, note_width) + 2 * _GAP
    height = _GAP + rows * (_CELL + _LINE + _GAP) + 2 * _LINE
    sheet = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    texts: list[tuple[tuple[int, int], str, tuple[int, int, int]]] = []
    for position, (name, cell) in enumerate(cells):
        row, column = divmod(position, columns)
        top, left = _GAP + row * (_CELL + _LINE + _GAP), _GAP + column * (_CELL + _GAP)
        y, x = top + (_CELL - cell.shape[0]) // 2, left + (_CELL - cell.shape[1]) // 2
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        texts.append(((left, top + _CELL), shorten_text(name, _TEXT, _CELL), _INK))
    legend_top, left = height - 2 * _LINE, _GAP
    for category in categories:
        sheet[legend_top + 3 : legend_top + 3 + _TEXT, left : left + _TEXT] = category.color
        texts.append(((left + _TEXT + 6, legend_top), category.name, _INK))
        left += _legend_width(category)
    if note is not None:
        texts.append(((_GAP, legend_top + _LINE), note, _INK))
    return draw_texts(sheet, texts, _TEXT)


def _draw_cell(image: ContactSheetImage, categories: Sequence[Category]) -> NDArray[np.uint8]:
    scale = _CELL / max(image.image.shape)
    size = tuple(max(1, round(side * scale)) for side in reversed(image.image.shape))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(image.image, size, interpolation=interpolation), dtype=np.float32)
    ids = image.segmentation.segment_ids.cpu().numpy().astype(np.int32)
    small_ids = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
    segmentation = PanopticSegmentation(torch.from_numpy(small_ids), image.segmentation.labels)
    return draw_overlay(small, segmentation, categories, show_labels=False)


def _legend_width(category: Category) -> int:
    return _TEXT + 6 + text_size(category.name, _TEXT)[0] + 3 * _GAP
