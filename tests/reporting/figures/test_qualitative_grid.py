"""The grids show each image with its truth and predictions, in the colours of the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.figures.caption import Caption
from modise_lightning.reporting.figures.grid_cells import (
    Score,
    heat_cell,
    image_cell,
    instances_cell,
    segments_cell,
)
from modise_lightning.reporting.figures.image_choice import ChosenImage
from modise_lightning.reporting.figures.qualitative_grid import (
    _places,
    draw_model_comparison,
    draw_qualitative_grid,
    qualitative_data,
    with_attribution,
)
from modise_lightning.structures import (
    Category,
    InstanceSegmentation,
    PanopticSegmentation,
    Prediction,
)

SKY, ORANGE = (86, 180, 233), (230, 159, 0)
CATEGORIES = (Category("benign", ("benign",), color=SKY), Category("malignant", ("malignant",), color=ORANGE))
CAPTION = Caption("patients (2 images)", False, ("note",), "")


def square(left: int, label: int) -> PanopticSegmentation:
    ids = torch.zeros((60, 40), dtype=torch.int64)
    ids[20:40, left : left + 10] = 1
    return PanopticSegmentation(ids, torch.tensor([label]), torch.tensor([0.9]))


def row(scores: tuple[float, ...] = (0.8,)) -> ComparisonRow:
    """Truth: a benign square on the left. Prediction: a malignant one on the right."""
    predicted = square(25, 1)
    instances = InstanceSegmentation(
        predicted.masks.repeat(len(scores), 1, 1),
        torch.ones(len(scores), dtype=torch.int64),
        torch.tensor(scores),
    )
    semantic = torch.zeros(2, 60, 40)
    semantic[1, 20:40, 25:35] = 1
    image = np.full((60, 40), 0.5, dtype=np.float32)
    return ComparisonRow("a.png", image, square(5, 0), Prediction(predicted, instances, semantic))


IMAGES = [
    ChosenImage(7, 0, "a.png", "best", {"m": 0.9, "n": 0.7}),
    ChosenImage(8, 1, "b.png", "worst", {"m": float("nan"), "n": 0.1}),
]
ROWS = {7: row(), 8: row(scores=(0.8, 0.7, 0.2))}


def words(figure: Figure) -> list[str]:
    return [str(text.get_text()) for text in figure.findobj(Text) if text.get_text()]


def outline_colors(figure: Figure, panel: int) -> set[str]:
    contours = [each for each in figure.axes[panel].collections if isinstance(each, ContourSet)]
    colors = {to_hex(color) for each in contours for color in each.get_edgecolor()}
    return colors - {"#000000"}


def test_a_grid_has_a_row_an_image_and_a_column_a_result() -> None:
    figure = draw_qualitative_grid(CAPTION, IMAGES, "m", ROWS, CATEGORIES)
    titles = [axis.get_title("center") for axis in figure.axes[:10]]
    assert titles[:5] == ["Image", "Ground truth", "Panoptic", "Instances", "Semantic"]
    said = words(figure)
    for text in (
        "Best, Dice 90.0 %\na.png",
        "Worst\nb.png",
        "benign",
        "malignant",
        "Predictions of m, patients (2 images)",
    ):
        assert text in said
    colors = [outline_colors(figure, panel) for panel in range(5)]
    sky, orange = (to_hex(np.array(color) / 255) for color in (SKY, ORANGE))
    assert colors == [set(), {sky}, {orange}, {orange}, set()]
    assert [text.get_text() for text in figure.axes[3].texts] == ["0.80"]
    # 0.2 is too low to be shown, and the other two do not cover each other.
    high, low = figure.axes[8].texts
    assert (high.get_text(), low.get_text()) == ("0.80", "0.70")
    assert high.get_position()[1] > low.get_position()[1] + 10
    assert to_hex(high.get_color()) == orange


def test_cells_show_what_they_are_of() -> None:
    one = row()
    height, width = 720, 480
    plain = image_cell(one).picture
    assert plain.shape == (height, width, 3)
    inside = {"truth": (height // 2, width // 4), "predicted": (height // 2, width * 3 // 4)}
    for cell, changed in [
        (segments_cell(one, one.target, CATEGORIES), "truth"),
        (segments_cell(one, one.prediction.panoptic, CATEGORIES), "predicted"),
        (instances_cell(one, CATEGORIES), "predicted"),
    ]:
        for where, pixel in inside.items():
            assert (cell.picture[pixel] != plain[pixel]).any() == (where == changed)
    heat = heat_cell(one).picture
    assert heat[inside["predicted"]].mean() > 150 > 60 > heat[inside["truth"]].mean()


def test_scores_stay_apart_and_in_the_picture() -> None:
    letters, size = 20.0, 200
    for left, top in [(100, 100), (0, 0), (199, 0), (100, 199)]:
        scores = [Score(left, top, "0.50", SKY)] * 5
        places = _places(scores, size, size, letters)
        assert all(letters <= y <= size and letters <= x <= size - letters for x, y in places)
        ys = sorted(y for _, y in places)
        assert min(np.diff(ys)) >= 0.99 * letters
    apart = _places([Score(40, 100, "0.50", SKY), Score(160, 100, "0.40", SKY)], size, size, letters)
    assert apart[0][1] == apart[1][1] == 94


def test_a_score_stands_at_the_largest_part() -> None:
    one = row()
    found = one.prediction.instances
    masks = found.masks
    masks[0, 0, 0] = True
    one.prediction.instances = InstanceSegmentation(masks, found.labels, found.scores)
    (score,) = instances_cell(one, CATEGORIES).scores
    assert score.y == pytest.approx(20 * 12, abs=12)
    assert score.x == pytest.approx(30 * 12, abs=12)


def test_models_stand_beside_each_other() -> None:
    figure = draw_model_comparison(CAPTION, IMAGES, {"m": ROWS, "n": ROWS}, CATEGORIES)
    assert [axis.get_title("center") for axis in figure.axes[:4]] == ["Image", "Ground truth", "m", "n"]
    assert "Best, Dice 80.0 %\na.png" in words(figure)
    assert len(figure.axes) == 8


def test_attribution_is_on_the_sheet() -> None:
    caption = with_attribution(CAPTION, "Khaled et al., CC BY 4.0")
    figure = draw_model_comparison(caption, IMAGES, {"m": ROWS}, CATEGORIES)
    assert "Khaled et al., CC BY 4.0" in " ".join(words(figure))
    assert with_attribution(CAPTION, None) == CAPTION


def test_numbers_behind_a_grid() -> None:
    data = qualitative_data(IMAGES)
    assert data[data["model"] == "n"]["dice"].tolist() == pytest.approx([0.7, 0.1])
    assert data["image_id"].tolist() == [7, 7, 8, 8]
