"""The comparison shows what each part of a prediction says."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modise_lightning.reporting.comparison import ComparisonRow, draw_comparison
from modise_lightning.structures import (
    Category,
    InstanceSegmentation,
    PanopticSegmentation,
    Prediction,
)

SKY, ORANGE = (86, 180, 233), (230, 159, 0)
CATEGORIES = (Category("benign", ("benign",), color=SKY), Category("malignant", ("malignant",), color=ORANGE))
CELL, COLUMN = 360, 370


def squares(size: tuple[int, int], *labels: int) -> PanopticSegmentation:
    ids = torch.zeros(size, dtype=torch.int64)
    for index in range(len(labels)):
        ids[60:160, 40 + 200 * index : 140 + 200 * index] = index + 1
    return PanopticSegmentation(ids, torch.tensor(labels, dtype=torch.int64), torch.full((len(labels),), 0.9))


def row(
    target: tuple[int, ...] = (),
    panoptic: tuple[int, ...] = (),
    instances: tuple[int, ...] = (),
    score: float = 0.9,
    heat: float = 0.0,
    size: tuple[int, int] = (400, 400),
    name: str = "image",
) -> ComparisonRow:
    found = squares(size, *instances)
    semantic = torch.zeros((2, *size))
    semantic[1, 200:, :] = heat
    return ComparisonRow(
        name,
        np.zeros(size, dtype=np.float32),
        squares(size, *target),
        Prediction(
            squares(size, *panoptic),
            InstanceSegmentation(found.masks, found.labels, torch.full((len(instances),), score)),
            semantic,
        ),
    )


def columns_of(sheet: NDArray[np.uint8], color: tuple[int, int, int]) -> set[int]:
    """Columns of the first row that hold a colour."""
    cells = sheet[40 : 30 + CELL]
    near = (np.abs(cells.astype(int) - color) <= 12).all(axis=-1).any(axis=0)
    return set((np.nonzero(near)[0] // COLUMN).tolist())


def test_each_part_has_its_column() -> None:
    sheet = draw_comparison([row(target=(0,), panoptic=(1,), instances=(0, 1))], CATEGORIES, None)
    assert columns_of(sheet, SKY) == {1, 3}
    assert columns_of(sheet, ORANGE) == {2, 3}


def test_faint_instances_are_left_out() -> None:
    assert columns_of(draw_comparison([row(instances=(0,), score=0.29)], CATEGORIES, None), SKY) == set()
    assert columns_of(draw_comparison([row(instances=(0,), score=0.31)], CATEGORIES, None), SKY) == {3}


def test_of_many_instances_the_best_are_drawn() -> None:
    many = row()
    masks = torch.zeros((7, 400, 400), dtype=torch.bool)
    masks[:, 60:160, 40:140] = True
    scores = torch.tensor([0.9, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9])
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0])
    many.prediction.instances = InstanceSegmentation(masks, labels, scores)
    sheet = draw_comparison([many], CATEGORIES, None)
    assert columns_of(sheet, SKY) == {3}
    assert columns_of(sheet, ORANGE) == set()


@pytest.mark.parametrize("heat", [0.0, 0.4, 1.0])
def test_heat_is_the_colour_map_over_the_image(heat: float) -> None:
    sheet = draw_comparison([row(heat=heat)], CATEGORIES, None)
    hot = sheet[36 + CELL - 40, 10 + 4 * COLUMN + 100]
    cold = sheet[36 + 40, 10 + 4 * COLUMN + 100]
    expected = [0.65 * 255 * np.asarray(matplotlib.colormaps["magma"](value)[:3]) for value in (heat, 0.0)]
    assert np.abs(hot - expected[0]).max() <= 1.5
    assert np.abs(cold - expected[1]).max() <= 1.5


def test_targets_and_predictions_may_be_larger_than_the_image() -> None:
    small = row(target=(0,), panoptic=(1,), instances=(1,))
    small = ComparisonRow("small", small.image[::4, ::4], small.target, small.prediction)
    sheet = draw_comparison([small], CATEGORIES, None)
    assert sheet.shape == draw_comparison([row()], CATEGORIES, None).shape
    assert columns_of(sheet, SKY) == {1}
    assert columns_of(sheet, ORANGE) == {2, 3}


def test_legend_names_every_category_and_the_note_is_never_cut() -> None:
    plain = draw_comparison([row()], CATEGORIES, None)
    for color in (SKY, ORANGE):
        assert (plain == color).all(axis=-1).sum() == 16 * 16
    note = "Synthetic phantom images, not patients. " * 8
    noted = draw_comparison([row()], CATEGORIES, note)
    assert noted.shape[0] > plain.shape[0]
    assert noted.shape[1] > plain.shape[1]
    assert noted[-30:, -60:].max() > 200
    assert noted[:, -8:].max() < 50


def test_rows_of_other_shapes_and_long_names_fit() -> None:
    rows = [row(size=(400, 170), name="name " * 200), row(target=(0, 1), size=(200, 800))]
    sheet = draw_comparison(rows, CATEGORIES, "note")
    alone = [draw_comparison([one], CATEGORIES, "note") for one in rows]
    assert sheet.shape[1] == alone[1].shape[1] > alone[0].shape[1]
    assert sheet[:, -8:].max() < 50
    # Portraits alone need less width, but their titles still fit.
    assert alone[0].shape[1] == 5 * 220 + 10


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        draw_comparison([], CATEGORIES, None)
