"""Draws how undecided several members are of each pixel, and how far they disagree, beside each other."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from modise_lightning.reporting.pictures.overlay import to_grey_picture
from modise_lightning.reporting.pictures.text import draw_texts, shorten_text
from modise_lightning.structures import PanopticSegmentation, PixelUncertainty

_LONGEST_SIDE = 1024  # pixels of a panel; the maps have no finer detail than the network's masks
_LEAST_SIDE = 320  # of the longer one, so that there is room for words
_GAP, _TEXT = 8, 14
_LINE = int(_TEXT * 1.6)
_INK, _PAPER = (235, 235, 235), 18
_FAINTEST = 0.15  # share of the colour where there is no uncertainty


def draw_uncertainty(
    image: NDArray[np.float32], uncertainty: PixelUncertainty, panoptic: PanopticSegmentation
) -> NDArray[np.uint8]:
    """Draw both maps over the image, with a scale from 0 to 1 bit and white outlines of the segments.

    Args:
        image: (H, W) in [0, 1].
        uncertainty: At (H, W).
        panoptic: At (H, W).

    Returns:
        (h, w, 3) RGB.
    """
    longest = max(image.shape)
    scale = min(max(longest, _LEAST_SIDE), _LONGEST_SIDE) / longest
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    grey = to_grey_picture(_resized(image, size))
    ids = panoptic.segment_ids.cpu().numpy().clip(min=0).astype(np.int32)
    small = np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST), dtype=np.int32)
    panels = [
        _panel(grey, _resized(_values(values), size), small)
        for values in (uncertainty.entropy, uncertainty.disagreement)
    ]
    height, width = size[1] + 2 * _LINE + 3 * _GAP, 2 * size[0] + 3 * _GAP
    sheet = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    texts = []
    for number, (panel, title) in enumerate(zip(panels, ("uncertainty", "disagreement"), strict=True)):
        left = _GAP + number * (size[0] + _GAP)
        sheet[_LINE + _GAP : _LINE + _GAP + size[1], left : left + size[0]] = panel
        texts.append(((left, _GAP // 2), shorten_text(title, _TEXT, size[0]), _INK))
    top, bar = _LINE + 2 * _GAP + size[1], np.linspace(0, 1, min(120, size[0]), dtype=np.float32)
    sheet[top : top + _TEXT, _GAP : _GAP + len(bar)] = _colours(bar[None])
    texts.append(((2 * _GAP + len(bar), top - 2), "0 to 1 bit", _INK))
    return draw_texts(sheet, texts, _TEXT)


def _values(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.cpu().numpy(), dtype=np.float32)


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    shrinks = size[0] < values.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size, interpolation=interpolation), dtype=np.float32)


def _colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = (values.clip(0, 1) * 255).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1], dtype=np.uint8)


def _panel(grey: NDArray[np.uint8], values: NDArray[np.float32], ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    share = (_FAINTEST + (1 - _FAINTEST) * np.sqrt(values.clip(0, 1)))[..., None]
    panel = np.asarray((grey + share * (_colours(values).astype(np.float32) - grey)).round(), np.uint8)
    for number in np.unique(ids[ids > 0]):
        outlines, _ = cv2.findContours(
            (ids == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(panel, outlines, -1, (255, 255, 255), 1)
    return panel
