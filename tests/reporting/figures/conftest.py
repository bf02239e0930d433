"""Tables of measured runs, whose figures are drawn."""

from __future__ import annotations

import pytest

from cross_validation_runs import write_measured_run
from gathered_runs import gather
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.figures.model_records import ModelRecords, read_models


@pytest.fixture(scope="package")
def table(tmp_path_factory: pytest.TempPathFactory) -> DatasetTable:
    """Two models on phantom images; the worse one lacks the last of three folds."""
    folder = tmp_path_factory.mktemp("runs")
    for name, fold, shift in [("good", 0, 0), ("good", 1, 0), ("good", 2, 0), ("bad", 0, 3), ("bad", 1, 3)]:
        write_measured_run(folder / f"{name}{fold}", name, fold, shift, num_folds=3)
    (table,) = gather(folder)
    return table


@pytest.fixture(scope="package")
def patients_table(tmp_path_factory: pytest.TempPathFactory) -> DatasetTable:
    """One complete model of one fold, on images of patients, with the longest words that are likely."""
    folder = tmp_path_factory.mktemp("patients")
    write_measured_run(
        folder / "run",
        "m_odise_with_a_very_long_name_of_many_words_and_settings_12345",
        0,
        1,
        num_folds=1,
        synthetic=False,
        dataset="a_dataset_with_a_name_that_is_longer_than_any_figure_should_have_to_bear",
    )
    (table,) = gather(folder)
    return table


@pytest.fixture(scope="package")
def models(table: DatasetTable) -> list[ModelRecords]:
    return read_models(table.models)
