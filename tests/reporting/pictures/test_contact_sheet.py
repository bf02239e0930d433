"""The contact sheet shows every image with its segments, the legend and the note."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage, draw_contact_sheet
from modise_lightning.structures import Category, PanopticSegmentation

RED, BLUE = (255, 0, 0), (0, 0, 255)
CATEGORIES = (Category("benign", ("benign",), color=RED), Category("malignant", ("malignant",), color=BLUE))


def image(label: int, height: int = 600, width: int = 400) -> ContactSheetImage:
    ids = torch.zeros((height, width), dtype=torch.int64)
    ids[200:400, 100:300] = 1
    pixels = np.full((height, width), 0.5, dtype=np.float32)
    return ContactSheetImage(f"image_{label}", pixels, PanopticSegmentation(ids, torch.tensor([label])))


def pixels_of(sheet: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    """Count pixels of about a colour; outlines are smoothed."""
    return int((np.abs(sheet.astype(int) - color) < 50).all(axis=-1).sum())


def test_outlines_are_in_the_colour_of_their_category() -> None:
    legend = 14 * 14
    sheet = draw_contact_sheet([image(1)], CATEGORIES, None)
    # A 200 x 200 square is 100 x 100 in a 300-pixel cell; its outline is about 4 x 100 pixels.
    assert 300 < pixels_of(sheet, BLUE) - legend < 1200
    assert pixels_of(sheet, RED) == legend


def test_images_fill_rows() -> None:
    one = draw_contact_sheet([image(0)], CATEGORIES, None, columns=3)
    three = draw_contact_sheet([image(0)] * 3, CATEGORIES, None, columns=3)
    four = draw_contact_sheet([image(0)] * 4, CATEGORIES, None, columns=3)
    assert three.shape[1] > 2.9 * 300
    assert three.shape[0] == one.shape[0]
    assert four.shape[0] > three.shape[0] + 300
    assert four.shape[1] == three.shape[1]


def test_the_note_is_there_and_never_cut() -> None:
    note = "Synthetic phantom images, not patients. " * 4
    with_note = draw_contact_sheet([image(0)], CATEGORIES, note)
    without = draw_contact_sheet([image(0)], CATEGORIES, None)
    assert with_note.shape[0] == without.shape[0]
    assert with_note.shape[1] > without.shape[1]
    lines = with_note[-20:]
    assert lines[:, : without.shape[1]].max() > 200
    assert lines[:, -120:].max() > 200
    assert without[-20:].max() < 50


def test_images_are_drawn_one_at_a_time() -> None:
    alive: list[int] = []

    def images() -> Iterator[ContactSheetImage]:
        for number in range(3):
            alive.append(number)
            yield image(number % 2)

    assert draw_contact_sheet(images(), CATEGORIES, None).dtype == np.uint8
    assert alive == [0, 1, 2]


def test_small_and_empty_images_are_fine() -> None:
    empty = ContactSheetImage(
        "an_image_with_a_very_long_name_that_does_not_fit_into_the_width_of_its_cell",
        np.zeros((3, 900), dtype=np.float32),
        PanopticSegmentation(torch.zeros((3, 900), dtype=torch.int64), torch.zeros(0, dtype=torch.int64)),
    )
    sheet = draw_contact_sheet([empty, empty], CATEGORIES, None)
    assert pixels_of(sheet, RED) == 14 * 14


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        draw_contact_sheet([], CATEGORIES, None)
