"""What is drawn is what was computed; all words are seen; the same figure is the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from modise_lightning.reporting.confusion import count_confusion
from modise_lightning.reporting.cross_validation.models import Summary
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.calibration import calibration_data, draw_calibration
from modise_lightning.reporting.figures.confusion import (
    MISSED,
    NO_LESION,
    confusion_data,
    draw_confusion_figure,
)
from modise_lightning.reporting.figures.files import FigureFormat, render_figure
from modise_lightning.reporting.figures.froc import ANY_LESION, draw_froc, froc_data
from modise_lightning.reporting.figures.model_records import ModelRecords, read_models
from modise_lightning.reporting.figures.precision_recall import draw_precision_recall, precision_recall_data
from modise_lightning.reporting.figures.style import line_style
from modise_lightning.reporting.figures.threshold_ablation import (
    draw_threshold_ablation,
    threshold_ablation_data,
)

POINTS = [0.125, 0.5, 2.0]
Draw = Callable[[DatasetTable, list[ModelRecords]], tuple[Figure, pd.DataFrame]]


def ablation(table: DatasetTable, models: list[ModelRecords]) -> tuple[Figure, pd.DataFrame]:
    return draw_threshold_ablation(table), threshold_ablation_data(table)


def precision_recall(table: DatasetTable, models: list[ModelRecords]) -> tuple[Figure, pd.DataFrame]:
    data = precision_recall_data(models, thresholds=[0.1, 0.5], max_detections=100, folds="average")
    return draw_precision_recall(table, data, folds="average"), data


def froc(table: DatasetTable, models: list[ModelRecords]) -> tuple[Figure, pd.DataFrame]:
    data = froc_data(models, threshold=0.1, operating_points=POINTS, folds="average", max_detections=100)
    return draw_froc(table, data, threshold=0.1, folds="average"), data


def calibration(table: DatasetTable, models: list[ModelRecords]) -> tuple[Figure, pd.DataFrame]:
    data = calibration_data(models, threshold=None, num_bins=5, least_score=0.05, max_detections=100)
    return draw_calibration(table, data, least_score=0.05), data


def confusion(table: DatasetTable, models: list[ModelRecords]) -> tuple[Figure, pd.DataFrame]:
    data = confusion_data(models, threshold=None)
    return draw_confusion_figure(table, data), data


ALL = [ablation, precision_recall, froc, calibration, confusion]


def words(figure: Figure) -> list[str]:
    return [str(text.get_text()) for text in figure.findobj(Text) if text.get_text()]


def lines_of(figure: Figure, panel: int, num_points: int) -> list[np.ndarray]:
    """Give the (x, y) of the lines of so many points of a panel."""
    return [
        np.asarray(line.get_xydata())
        for line in figure.axes[panel].lines
        if len(line.get_xydata()) == num_points
    ]


@pytest.mark.parametrize("draw", ALL)
def test_figures_say_what_they_show(draw: Draw, table: DatasetTable, models: list[ModelRecords]) -> None:
    figure, _ = draw(table, models)
    said = " ".join(" ".join(words(figure)).split())
    for text in ("phantom", "SYNTHETIC IMAGES, NOT PATIENTS", "Missing folds (of 3): bad 2.", "good", "bad"):
        assert text in said


@pytest.mark.parametrize("draw", ALL)
def test_words_are_inside_the_sheet_and_real_images_are_not_called_synthetic(
    draw: Draw, patients_table: DatasetTable
) -> None:
    figure, _ = draw(patients_table, read_models(patients_table.models))
    assert "SYNTHETIC" not in " ".join(words(figure))
    assert "Missing" not in " ".join(words(figure))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    labels = [label for axis in figure.axes for label in (axis.xaxis.label, axis.yaxis.label)]
    titles = [title for axis in figure.axes for title in axis.get_children() if isinstance(title, Text)]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    for text in (*figure.texts, *labels, *titles, *legends):
        if text.get_text():
            box = text.get_window_extent(renderer)
            sheet = figure.bbox
            inside = box.x0 >= sheet.x0 and box.x1 <= sheet.x1 and box.y0 >= sheet.y0 and box.y1 <= sheet.y1
            assert inside, text.get_text()


def test_titles_of_panels_stand_apart(table: DatasetTable, models: list[ModelRecords]) -> None:
    data = froc_data(models, threshold=0.1, operating_points=POINTS, folds="average", max_detections=100)
    long = {"benign": "a class of many words, such as non-mass enhancement", "malignant": "b" * 60}
    data["class"] = data["class"].replace(long)
    figure = draw_froc(table, data, threshold=0.1, folds="average")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axis._left_title.get_window_extent(canvas.get_renderer()) for axis in figure.axes]  # type: ignore[attr-defined]
    for left, right in pairwise(boxes):
        assert left.x1 < right.x0
    assert boxes[-1].x1 <= figure.bbox.x1
    assert figure.axes[1].get_title("left").endswith("…")


@pytest.mark.parametrize(
    ("draw", "file_format"), [*((draw, "svg") for draw in ALL), (ablation, "pdf"), (ablation, "png")]
)
def test_equal_figures_are_equal_bytes(
    draw: Draw, file_format: FigureFormat, patients_table: DatasetTable
) -> None:
    models = read_models(patients_table.models)
    first, second = (render_figure(draw(patients_table, models)[0], file_format) for _ in range(2))
    assert first == second
    if file_format == "svg":
        assert b"a_dataset_with" in first  # letters are text
    if file_format == "pdf":
        assert b"/FontFile2" in first  # TrueType, not drawn as shapes (type 3)
        assert b"/Type3" not in first


def test_ablation_shows_means_and_deviations_over_folds(table: DatasetTable) -> None:
    figure, data = ablation(table, [])
    for panel, (metric, name) in enumerate(
        [("PQ", "panoptic_quality"), ("RQ", "recognition_quality"), ("SQ", "segmentation_quality")]
    ):
        lines = lines_of(figure, panel, 19)
        assert len(lines) == len(table.models)
        for row, line in zip(table.models, lines, strict=True):
            by_fold = np.array([getattr(result, name) for result in row.results.values()])
            np.testing.assert_allclose(line[:, 1], 100 * by_fold.mean(0))
            own = data[(data["model"] == row.label) & (data["metric"] == metric)]
            np.testing.assert_allclose(own["std"], 100 * by_fold.std(0, ddof=1))
            assert (own["num_folds"] == len(row.runs)).all()
        low, high = figure.axes[panel].get_ylim()
        assert low == 0
        assert high <= 100


def test_precision_recall_has_a_panel_a_class_and_threshold(
    table: DatasetTable, models: list[ModelRecords]
) -> None:
    figure, data = precision_recall(table, models)
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles[0] == "a   mean over classes, IoU ≥ 0.1"
    assert titles[-1] == "f   malignant, IoU ≥ 0.5"
    shown = lines_of(figure, 5, 101)
    assert len(shown) == 2
    for row, line in zip(table.models, shown, strict=True):
        here = (data["class"] == "malignant") & (data["iou_threshold"] == 0.5)
        own = data[here & (data["model"] == row.label)]
        np.testing.assert_array_equal(line[:, 1], own["precision"])
        index = next(iter(row.results.values())).thresholds.index(0.5)
        by_fold = [
            result.average_precision_by_category["malignant"][index] for result in row.results.values()
        ]
        assert own["average_precision"].iloc[0] == pytest.approx(Summary.of(by_fold).mean)
        mean, deviation = 100 * Summary.of(by_fold).mean, 100 * Summary.of(by_fold).deviation
        assert any(f"{mean:.1f} ± {deviation:.1f}" in text for text in words(figure))


def test_froc_marks_the_operating_points(table: DatasetTable, models: list[ModelRecords]) -> None:
    figure, data = froc(table, models)
    assert data["class"].unique().tolist() == [ANY_LESION, "benign", "malignant"]
    own = data[(data["model"] == "good") & (data["class"] == ANY_LESION)]
    assert own.loc[own["operating_point"], "false_positives_per_image"].tolist() == POINTS
    expected = own.loc[own["operating_point"], "sensitivity"].mean()
    assert own["mean_sensitivity"].iloc[0] == pytest.approx(expected)
    axis = figure.axes[0]
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1/8", "1/2", "2"]
    line = lines_of(figure, 0, len(own))[[row.label for row in table.models].index("good")]
    np.testing.assert_array_equal(line[:, 1], own["sensitivity"])


def test_calibration_counts_every_instance_once(table: DatasetTable, models: list[ModelRecords]) -> None:
    figure, data = calibration(table, models)
    for model in models:
        instances = pd.concat([records.instances for records in model.by_fold.values()])
        scores = instances.loc[instances["source"] == "instance", "score"]
        own = data[data["model"] == model.row.label]
        assert own["count"].sum() == (scores >= 0.05).sum()
        assert (own["iou_threshold"] == model.row.threshold).all()
        error = 100 * own["expected_calibration_error"].iloc[0]
        assert f"ECE {error:.1f} %\n{own['count'].sum()} instances" in words(figure)


def test_confusion_adds_the_folds_up(table: DatasetTable, models: list[ModelRecords]) -> None:
    _, data = confusion(table, models)
    for model in models:
        own = data[data["model"] == model.row.label].set_index(["true", "predicted"])["count"]
        counts = [
            count_confusion(records, category_names=["benign", "malignant"], threshold=model.row.threshold)
            for records in model.by_fold.values()
        ]
        for row, true in enumerate(["benign", "malignant", NO_LESION]):
            for column, predicted in enumerate(["benign", "malignant", MISSED]):
                if (true, predicted) != (NO_LESION, MISSED):
                    assert own[true, predicted] == sum(each.counts[row, column] for each in counts)
        truths = pd.concat([records.instances for records in model.by_fold.values()])
        truths = truths[truths["source"] == "truth"]
        assert own.loc["benign"].sum() == (truths["category"] == "benign").sum()


def test_lines_differ_without_colour() -> None:
    styles = [line_style(index) for index in range(280)]
    keys = {(str(style["color"]), str(style["linestyle"]), style["marker"]) for style in styles}
    assert len(keys) == 280
    first = styles[:6]
    assert len({style["marker"] for style in first}) == 6


def test_an_undefined_number_is_said(table: DatasetTable, models: list[ModelRecords]) -> None:
    data = precision_recall_data(models, thresholds=[0.5], max_detections=100, folds="average")
    data.loc[data["class"] == "benign", ["precision", "average_precision"]] = math.nan
    assert "undefined" in " ".join(words(draw_precision_recall(table, data, folds="average")))


def test_figures_of_many_classes_stay_readable(table: DatasetTable, models: list[ModelRecords]) -> None:
    number = 133
    _, curves = precision_recall(table, models)
    _, rates = froc(table, models)

    def with_classes(data: pd.DataFrame, together: str) -> pd.DataFrame:
        one = data[data["class"] == together]
        return pd.concat([one, *(one.assign(**{"class": f"class {index}"}) for index in range(number))])

    names = [f"class {index}" for index in range(number)]
    pairs = pd.MultiIndex.from_product(
        [[row.label for row in table.models], [*names, NO_LESION], [*names, MISSED]],
        names=["model", "true", "predicted"],
    ).to_frame(index=False)
    pairs = pairs[(pairs["true"] != NO_LESION) | (pairs["predicted"] != MISSED)]
    # The last classes are the most frequent ones.
    rank = pairs["true"].map({name: index for index, name in enumerate(names)}).fillna(0).astype(int)
    pairs = pairs.assign(iou_threshold=0.5, count=rank)
    drawn = {
        "Of 133 classes only the mean is drawn.": draw_precision_recall(
            table, with_classes(curves, "mean over classes"), folds="average"
        ),
        "Of 133 classes only all together are drawn.": draw_froc(
            table, with_classes(rates, ANY_LESION), threshold=0.1, folds="average"
        ),
        "The most frequent 20 of 133 classes, the others together.": draw_confusion_figure(table, pairs),
    }
    for note, figure in drawn.items():
        assert max(figure.get_size_inches()) < 40
        assert note in " ".join(" ".join(words(figure)).split())
    panel = drawn["The most frequent 20 of 133 classes, the others together."].axes[0]
    ticks = [label.get_text() for label in panel.get_yticklabels()]
    assert ticks == [*names[-20:], "113 others", NO_LESION]
    written = [int(text.get_text()) for text in panel.texts[1::2]]
    assert sum(written) == pairs.loc[pairs["model"] == table.models[0].label, "count"].sum()
