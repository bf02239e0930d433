"""Pictures of datasets with many classes have a size that can be read, and say what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modise_lightning.reporting.comparison import ComparisonRow, draw_comparison
from modise_lightning.reporting.confusion import Confusion
from modise_lightning.reporting.evaluation_charts import draw_confusion
from modise_lightning.reporting.pictures.contact_sheet import ContactSheetImage, draw_contact_sheet
from modise_lightning.reporting.pictures.legend import draw_legend
from modise_lightning.reporting.pictures.many_classes import (
    merge_other_classes,
    most_frequent_classes,
    shown_in_legend,
)
from modise_lightning.reporting.wandb.media import make_confusion_chart, make_prediction_image
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation, Prediction

LARGEST = 3000  # pixels of a side


def categories(number: int) -> list[Category]:
    return [
        Category(f"class {index}", (f"class {index}",), color=(index % 256, index // 256, 50))
        for index in range(number)
    ]


def segments(*labels: int) -> PanopticSegmentation:
    """One row of eight pixels a segment, void above."""
    ids = torch.arange(len(labels) + 1)[:, None].repeat(1, 8)
    ids[0] = -1
    return PanopticSegmentation(ids, torch.tensor(labels), torch.full((len(labels),), 0.5))


def prediction(*labels: int) -> Prediction:
    height = len(labels) + 1
    nothing = InstanceSegmentation(
        torch.zeros((0, height, 8), dtype=torch.bool), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    )
    return Prediction(segments(*labels), nothing, torch.zeros((1, height, 8)))


@pytest.mark.parametrize(
    ("number", "labels", "names", "left_out"),
    [
        (2, [], [0, 1], 0),
        (4, [1], [0, 1, 2, 3], 0),
        (5, [4, 0, 4], [0, 4], 0),
        (9, [8, 8, 7, 6, 5, 4, 4], [4, 5, 6, 8], 1),
        (9, [], [], 0),
    ],
)
def test_a_legend_names_all_classes_or_the_most_frequent(
    number: int, labels: list[int], names: list[int], left_out: int
) -> None:
    every = categories(number)
    assert shown_in_legend(every, labels, most=4) == ([every[index] for index in names], left_out)


def test_other_classes_are_merged_by_hand() -> None:
    counts = np.array([[5, 1, 0, 2], [0, 1, 1, 0], [0, 0, 9, 0], [3, 1, 0, 0]])
    assert most_frequent_classes(counts, most=2) == [0, 2]
    assert most_frequent_classes(counts, most=3) == [0, 1, 2]
    assert most_frequent_classes(np.diag([0, 0, 4, 0]), most=2) == [2]
    names, merged = merge_other_classes(["a", "b", "c"], counts, [0, 2])
    assert names == ["a", "c", "1 others"]
    assert merged.tolist() == [[5, 0, 1, 2], [0, 9, 0, 0], [0, 1, 1, 0], [3, 0, 1, 0]]
    assert merge_other_classes(["a", "b", "c"], counts, [0, 1, 2])[1] is counts


@pytest.mark.parametrize("number", [133, 300])
def test_sheets_and_charts_keep_their_size(number: int) -> None:
    every = categories(number)
    labels = tuple(range(0, number, number // 50))
    image = np.zeros((len(labels) + 1, 8), dtype=np.float32)
    sheets = [
        draw_comparison([ComparisonRow("a", image, segments(*labels), prediction(*labels))], every, "note"),
        draw_contact_sheet([ContactSheetImage("a", image, segments(*labels))], every, "note"),
        draw_confusion(
            Confusion(
                [*(category.name for category in every), "nothing"],
                np.ones((number + 1, number + 1), dtype=np.int64),
                0.5,
            ),
            "test",
        ),
    ]
    for sheet in sheets:
        assert max(sheet.shape) < LARGEST
        assert sheet.std() > 5


def test_a_legend_breaks_its_lines_and_cuts_no_mark() -> None:
    marks = [(f"name {index}", np.full((10, 10, 3), 200, dtype=np.uint8)) for index in range(40)]
    strip, texts = draw_legend(marks, width=1200, size=16, paper=0, ink=(1, 1, 1))
    assert strip.shape[1] <= 1200
    assert strip.shape[0] == 25 * len({y for (_, y), _, _ in texts}) > 25
    assert (strip == 200).all(axis=-1).sum() == 40 * 100
    assert [name for _, name, _ in texts] == [name for name, _ in marks]


@pytest.mark.parametrize("number", [133, 254, 255, 300])
def test_a_dashboard_mask_names_the_class_of_each_pixel(number: int) -> None:
    every, truth, found = categories(number), (0, 7, number - 1), (number - 1, number - 2)
    target, predicted = segments(*truth), prediction(*found)
    predicted.panoptic.segment_ids = torch.tensor([[0], [1], [2], [-1]]).repeat(1, 8)
    shown = make_prediction_image(np.zeros((4, 8), dtype=np.float32), target, predicted, every, "a")
    expected = {
        "truth": ["void", *(f"class {label}" for label in truth)],
        "prediction": ["background", *(f"class {label}" for label in found), "void"],
    }
    for kind, names in expected.items():
        mask = shown._masks[kind]._val
        assert mask["mask_data"].dtype == np.uint8
        assert [mask["class_labels"][value] for value in mask["mask_data"][:, 0].tolist()] == names
    labels = shown._masks["prediction"]._val["class_labels"]
    boxes = shown._boxes["prediction"]._val
    assert [labels[box["class_id"]] for box in boxes] == expected["prediction"][1:3]


def test_a_dashboard_mask_of_too_many_classes_is_left_out_by_name() -> None:
    labels = tuple(range(255))
    image = np.zeros((256, 8), dtype=np.float32)
    with pytest.raises(ValueError, match="255 classes in one image; the dashboard tells 254 apart"):
        make_prediction_image(image, segments(*labels), prediction(*labels), categories(300), "a")


def test_the_dashboard_confusion_fits_into_its_table() -> None:
    names = [*(category.name for category in categories(300)), "nothing"]
    chart = make_confusion_chart(Confusion(names, np.eye(301, dtype=np.int64), 0.5))
    rows = chart.table.data
    assert len(rows) == 22**2
    assert sum(row[2] for row in rows) == 301
    assert ["280 others", "280 others", 280] in rows
