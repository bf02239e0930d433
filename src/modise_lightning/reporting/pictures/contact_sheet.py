"""A sheet of many images with their segments outlined, to see at a glance what a dataset holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.legend import color_mark, draw_legend, others_mark
from modise_lightning.reporting.pictures.many_classes import shown_in_legend
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
    cells, labels = [], []
    for image in images:
        cells.append((image.name, _draw_cell(image, categories)))
        labels += image.segmentation.labels.tolist()
    if not cells:
        raise ValueError("A contact sheet needs at least one image.")
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    cells_width = columns * (_CELL + _GAP)
    shown, left_out = shown_in_legend(categories, labels)
    marks = [(category.name, color_mark(category.color, _TEXT)) for category in shown]
    marks += others_mark(left_out)
    legend, legend_texts = draw_legend(marks, width=cells_width, size=_TEXT, paper=_PAPER, ink=_INK)
    note_width = text_size(note, _TEXT)[0] if note is not None else 0
    width = max(cells_width, legend.shape[1], note_width) + 2 * _GAP
    legend_top = _GAP + rows * (_CELL + _LINE + _GAP)
    height = legend_top + legend.shape[0] + _LINE
    sheet = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    texts: list[tuple[tuple[int, int], str, tuple[int, int, int]]] = []
    for position, (name, cell) in enumerate(cells):
        row, column = divmod(position, columns)
        top, left = _GAP + row * (_CELL + _LINE + _GAP), _GAP + column * (_CELL + _GAP)
        y, x = top + (_CELL - cell.shape[0]) // 2, left + (_CELL - cell.shape[1]) // 2
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        texts.append(((left, top + _CELL), shorten_text(name, _TEXT, _CELL), _INK))
    sheet[legend_top : legend_top + legend.shape[0], _GAP : _GAP + legend.shape[1]] = legend
    texts += [((x + _GAP, y + legend_top), name, color) for (x, y), name, color in legend_texts]
    if note is not None:
        texts.append(((_GAP, height - _LINE), note, _INK))
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
