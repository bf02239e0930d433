"""ROC curves and strata are drawn of what was computed, and say why they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from omegaconf import DictConfig
from sklearn.metrics import roc_curve

from clinical_runs import write_clinical_run
from cross_validation_runs import write_measured_run
from gathered_runs import gather
from modise_lightning.errors import UserError
from modise_lightning.figures import figures
from modise_lightning.metrics.clinical.cases import collect_cases
from modise_lightning.metrics.records.clinical_records import describe_images
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.clinical import draw_roc, draw_strata, roc_data, strata_data
from modise_lightning.reporting.figures.files import render_figure

Compose = Callable[..., DictConfig]


def table_of(folder: Path) -> DatasetTable:
    (table,) = gather(folder)
    return table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two folds."""
    folder = tmp_path_factory.mktemp("figures")
    for name, shift in (("a", 0), ("b", 4)):
        for fold in range(2):
            write_clinical_run(folder / name / str(fold), name, fold, shift, num_folds=2)
    return folder


def test_roc_is_the_mean_of_scikit_learns_curves(runs: Path) -> None:
    table = table_of(runs)
    data = roc_data(table)
    own = data[(data["model"] == "b") & (data["case"] == "breast")]
    expected = []
    for fold in range(2):
        records = read_records(runs / "b" / str(fold) / "records" / "trained")
        images = describe_images(records.images, records.clinical)
        cases = collect_cases(records, images, level="breast", suspicious=["malignant"])
        false, true, _ = roc_curve(cases.positive, cases.scores, drop_intermediate=False)
        expected.append([true[false <= rate].max() for rate in own["false_positive_rate"]])
    np.testing.assert_allclose(own["sensitivity"], np.mean(expected, axis=0))
    clinical = [each.clinical for each in table.models[1].results.values()]
    areas = [each.values["breast AUC"] for each in clinical if each is not None]
    assert own["area"].iloc[0] == pytest.approx(np.mean(areas))
    assert set(data["case"]) == {"breast", "patient"}


def test_strata_are_those_of_all_folds_together(runs: Path) -> None:
    table = table_of(runs)
    data = strata_data(table)
    results = [each.clinical for each in table.models[0].results.values()]
    for row in data[data["model"] == "a"].itertuples():
        each = [
            s for r in results if r is not None for s in r.strata if (s.by, s.level) == (row.by, row.level)
        ]
        assert (row.lesions, row.found) == (sum(s.lesions for s in each), sum(s.found for s in each))
        assert row.low <= row.sensitivity <= row.high


def test_what_is_drawn_is_what_was_computed(runs: Path) -> None:
    table = table_of(runs)
    data = roc_data(table)
    figure = draw_roc(table, data)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 201]
    for model, line in zip(("a", "b"), drawn, strict=True):
        own = data[(data["model"] == model) & (data["case"] == "breast")]
        np.testing.assert_array_equal(line.get_ydata(), own["sensitivity"])
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "SYNTHETIC" in words
    assert render_figure(figure, "svg") == render_figure(draw_roc(table, data), "svg")
    strata = strata_data(table)
    labels = [text.get_text() for text in draw_strata(table, strata).axes[0].get_yticklabels()]
    assert len(labels) == len(strata.drop_duplicates(["by", "level"]))
    assert f"all ({strata['lesions'].iloc[0]})" in labels


def test_the_command_writes_them_with_their_numbers(
    runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    overrides = [f"runs={runs}", "figures=[roc,strata]", "formats=[svg]"]
    files = figures(compose_config("figures", overrides, tmp_path))
    names = ["phantom_roc.svg", "phantom_roc.csv", "phantom_strata.svg", "phantom_strata.csv"]
    assert [path.name for path in files] == names
    assert pd.read_csv(tmp_path / "phantom_roc.csv")["synthetic"].all()


def test_runs_of_other_metrics_and_cases_of_one_kind_are_told(tmp_path: Path) -> None:
    write_measured_run(tmp_path / "paper" / "0", "a", 0, 1, num_folds=2)
    for data in (roc_data, strata_data):
        with pytest.raises(UserError, match="need runs of metrics=clinical; none on phantom is"):
            data(table_of(tmp_path / "paper"))
    settings = {"suspicious": ["benign", "malignant"]}
    write_clinical_run(tmp_path / "one" / "0", "a", 0, 1, normals=False, settings=settings, num_folds=2)
    with pytest.raises(UserError, match=r"roc cannot be drawn: each of 12 cases \(breast\).*\(patient\)"):
        roc_data(table_of(tmp_path / "one"))
