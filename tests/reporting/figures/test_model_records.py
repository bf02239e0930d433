"""Records are read for the runs of a table, and refused where they are missing or of something else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cross_validation_runs import write_measured_run
from gathered_runs import gather
from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.figures.model_records import ModelRecords, read_models


@pytest.fixture
def row(tmp_path: Path) -> ModelFolds:
    write_measured_run(tmp_path / "run", "m", 0, 1)
    (table,) = gather(tmp_path, threshold=0.5)
    return table.models[0]


def test_missing_records_are_told(row: ModelFolds) -> None:
    folder = row.runs[0].folder / "records" / "trained"
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=rf"{folder}: no records.*figures=\[threshold_ablation\]"):
        ModelRecords.read(row)


def test_records_of_other_images_are_told(row: ModelFolds) -> None:
    run = row.runs[0]
    results = {"trained": replace(run.results["trained"], num_images=7)}
    with pytest.raises(UserError, match="records of 6 images, but the results beside them are of 7"):
        ModelRecords.read(ModelFolds("m", "trained", {0: replace(run, results=results)}, 0.5))


def test_a_class_that_any_model_predicts_as_instances_is_a_thing_for_all(row: ModelFolds) -> None:
    run = row.runs[0]
    path = run.folder / "records"
    shutil.copytree(path / "trained", path / "shy")
    for name in ("instances", "overlaps"):
        lines = (path / "shy" / f"{name}.csv").read_text().splitlines(keepends=True)
        (path / "shy" / f"{name}.csv").write_text("".join(line for line in lines if ",instance," not in line))
    undefined = {name: [float("nan")] * 19 for name in run.results["trained"].category_names}
    result = replace(run.results["trained"], average_precision_by_category=undefined)
    shy = ModelFolds("shy", "shy", {0: replace(run, results={"shy": result})}, 0.5)
    assert ModelRecords.read(shy).isthing == [False, False]
    assert [model.isthing for model in read_models([shy, row])] == [[True, True], [True, True]]


def test_things_have_instances_or_an_average_precision(row: ModelFolds) -> None:
    assert ModelRecords.read(row).things == [(0, "benign"), (1, "malignant")]
    run = row.runs[0]
    result = run.results["trained"]
    undefined = {name: [float("nan")] * 19 for name in result.category_names}
    results = {"trained": replace(result, average_precision_by_category=undefined)}
    stuff = ModelFolds("m", "trained", {0: replace(run, results=results)}, 0.5)
    assert ModelRecords.read(stuff).isthing == [True, True]  # they have instances
    path = run.folder / "records" / "trained"
    for name in ("instances", "overlaps"):
        lines = (path / f"{name}.csv").read_text().splitlines(keepends=True)
        (path / f"{name}.csv").write_text("".join(line for line in lines if ",instance," not in line))
    assert ModelRecords.read(stuff).isthing == [False, False]
    (detections,) = ModelRecords.read(stuff).detections(pooling="average", max_detections=100)
    assert len(detections.scores) == len(detections.truth_labels) == 0
