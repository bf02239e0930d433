"""Clinical numbers of runs, with intervals, differences and strata, in tables and CSV files."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from clinical_runs import write_clinical_run
from cross_validation_runs import write_measured_run
from gathered_runs import gather
from modise_lightning.errors import UserError
from modise_lightning.metrics.patients.permutations import holm
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.clinical.model_intervals import measure_models, shown_numbers
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.results import read_results
from modise_lightning.tables import tables

Compose = Callable[..., DictConfig]
COMPARISON = ComparisonSettings(reference=None, bootstrap_samples=200, confidence=0.95, seed=0)


def table_of(folder: Path) -> DatasetTable:
    (table,) = gather(folder)
    return table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of three folds."""
    folder = tmp_path_factory.mktemp("clinical")
    for name, shift in (("a good", 0), ("b bad", 3)):
        for fold in range(3):
            write_clinical_run(folder / name / str(fold), name, fold, shift, num_folds=3)
    return folder


def test_values_are_the_mean_of_the_folds_results(runs: Path) -> None:
    models, _ = measure_models(table_of(runs), COMPARISON, StatisticsReader())
    assert [model.label for model in models] == ["a good", "b bad"]
    for model in models:
        stored = [
            read_results(runs / model.label / str(fold) / "results.json", EvaluationResult)
            for fold in range(3)
        ]
        clinical = [each.results["trained"].clinical for each in stored]
        checked = 0
        for name in ("breast AUC", "patient PR area", "FROC mask_iou per normal image at 1"):
            values = [each.values[name] for each in clinical if each is not None]
            assert model.intervals[name].value == pytest.approx(sum(values) / 3)
            checked += 1
        assert checked == 3
        dice = [each.results["trained"].dice for each in stored]
        assert model.intervals["Dice"].value == pytest.approx(sum(dice) / 3)
        quality = model.intervals["PQ"]
        assert quality.bca[0] <= quality.value <= quality.bca[1]
        assert model.counts["normal images"] == 3 * 12
        everything = next(each for each in model.strata if each.by == "all")
        assert everything.lesions == model.counts["lesions"]
        for by in ("class", "size (mm)", "view", "side", "density", "fold"):
            assert sum(each.lesions for each in model.strata if each.by == by) == everything.lesions


def test_differences_are_paired_and_corrected(runs: Path) -> None:
    good, bad = measure_models(table_of(runs), COMPARISON, StatisticsReader())[0]
    assert not good.differences
    difference = bad.differences["PQ"]
    assert difference.interval.value == pytest.approx(bad.intervals["PQ"].value - good.intervals["PQ"].value)
    assert difference.interval.percentile[1] < 0
    assert difference.p_value == 1 / 201
    shown = shown_numbers([good, bad])
    for name, each in bad.differences.items():
        assert (name in shown and not math.isnan(each.p_value)) == (not math.isnan(each.corrected))
    corrected = [bad.differences[name].corrected for name in shown]
    np.testing.assert_allclose(corrected, holm([bad.differences[name].p_value for name in shown]))
    assert len([name for name in shown if name.startswith("FROC")]) == 9


def test_tables_and_files(
    runs: Path, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables(compose_config("tables", [f"runs={runs}", "comparison.bootstrap_samples=50"], tmp_path))
    printed = " ".join(capsys.readouterr().out.split())
    assert "SYNTHETIC: cases, lesions and borders" in printed
    markdown = (tmp_path / "phantom.md").read_text()
    for text in (
        "| number | a good | b bad |",
        "breast AUC",
        "patient sensitivity at 90 % specificity",
        "matched 95 % Hausdorff distance (mm)",
        "lesion-wise surface Dice",
        "FROC mask\\_iou by breast per image, mean",
        "FROC mask\\_iou per normal image at 1",
        "paired differences over the same patients",
        "| size (mm) | 0 to 5 |",
        "normal images 36",
    ):
        assert text in markdown, text
    # One of the rates stands in the table, all in the file.
    assert "per image at 1 |" in markdown
    assert "per image at 0.25 |" not in markdown
    rows = list(csv.DictReader((tmp_path / "phantom_intervals.csv").open()))
    by_number = {row["number"]: row for row in rows if row["model"] == "b bad"}
    assert "FROC mask_iou per image at 0.25" in by_number
    assert float(by_number["PQ"]["difference"]) < 0
    assert by_number["PQ"]["synthetic"] == "True"
    strata = list(csv.DictReader((tmp_path / "phantom_strata.csv").open()))
    assert {row["by"] for row in strata} == {"all", "class", "size (mm)", "view", "side", "density", "fold"}
    for row in strata:
        assert float(row["low"]) <= float(row["sensitivity"]) <= float(row["high"])
    assert (tmp_path / "phantom.tex").read_text().count(r"\begin{tabular}") == 5


def test_the_first_table_is_that_of_the_papers_metrics(
    runs: Path, compose_config: Compose, tmp_path: Path
) -> None:
    """Without what metrics=clinical adds, the same runs give the same tables as far as they go."""
    tables(compose_config("tables", [f"runs={runs}", "comparison.bootstrap_samples=50"], tmp_path / "with"))
    for path in runs.rglob("results.json"):
        content = json.loads(path.read_text())
        del content["results"]["trained"]["clinical"]
        other = tmp_path / "runs" / path.parent.relative_to(runs)
        (other / "records" / "trained").mkdir(parents=True)
        (other / "results.json").write_text(json.dumps(content))
        for name in ("images", "instances", "overlaps"):
            source = path.parent / "records" / "trained" / f"{name}.csv"
            (other / "records" / "trained" / f"{name}.csv").write_bytes(source.read_bytes())
    overrides = [f"runs={tmp_path / 'runs'}", "comparison.bootstrap_samples=50"]
    tables(compose_config("tables", overrides, tmp_path / "without"))
    first = [
        (tmp_path / each / "phantom.md").read_text().split(f"**phantom, SYNTHETIC: {what}")[0]
        for each, what in (("with", "cases, lesions and borders"), ("without", "each number"))
    ]
    assert first[0] == first[1]
    assert "mean ± sample standard deviation over folds" in first[0]
    assert "strata" not in first[1]
    assert (tmp_path / "with" / "phantom.csv").read_bytes() == (
        tmp_path / "without" / "phantom.csv"
    ).read_bytes()
    assert sorted(path.name for path in (tmp_path / "without").glob("phantom*")) == [
        "phantom.csv",
        "phantom.md",
        "phantom.tex",
        "phantom_intervals.csv",
    ]


def test_without_normal_images_areas_say_in_words_that_they_are_undefined(
    compose_config: Compose, tmp_path: Path
) -> None:
    """Once for all numbers and models of one reason."""
    for fold in range(2):
        settings = {"suspicious": ["benign", "malignant"]}
        for name in "ab":
            folder = tmp_path / f"{name}{fold}"
            write_clinical_run(folder, name, fold, 1, normals=False, settings=settings, num_folds=2)
    tables(
        compose_config("tables", [f"runs={tmp_path}", "comparison.bootstrap_samples=20"], tmp_path / "out")
    )
    markdown = (tmp_path / "out" / "phantom.md").read_text()
    assert "| breast AUC | - |" in markdown
    assert "fold 0, 1: each of 12 cases (breast) has a suspicious lesion, and none is without." in markdown
    assert "per normal image, mean: fold 0, 1: no image is normal." in markdown
    told = [line for line in markdown.splitlines() if line.startswith("- a, b: breast AUC, breast pAUC FPR")]
    assert len(told) == 1
    assert markdown.count("of 12 cases (breast) has a suspicious lesion") == 1


def test_a_dataset_that_says_nothing_of_its_images(tmp_path: Path) -> None:
    write_clinical_run(tmp_path / "0", "a", 0, 1, said=False, num_folds=3)
    (model,), _ = measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
    assert model.undefined["breast"][0].startswith("24 of 24 images do not say their laterality")
    assert not math.isnan(model.intervals["patient AUC"].value)
    assert "matched average surface distance (pixels)" in model.intervals
    assert {each.by for each in model.strata} == {"all", "class", "size (share of the image)"}


def test_a_fold_without_normal_images_is_told_and_left_out(tmp_path: Path) -> None:
    for fold in range(2):
        write_clinical_run(tmp_path / str(fold), "a", fold, 1, normals=fold == 0, num_folds=3)
    (model,), _ = measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
    name = "FROC mask_iou per normal image at 1"
    assert model.undefined[name] == {1: "no image is normal"}
    assert not math.isnan(model.intervals[name].value)


def test_folds_of_different_units_are_not_averaged_silently(tmp_path: Path) -> None:
    for fold in range(2):
        write_clinical_run(tmp_path / str(fold), "a", fold, 1, said=fold == 0, num_folds=3)
    (model,), _ = measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
    for unit, other in (("mm", 1), ("pixels", 0)):
        name = f"matched average surface distance ({unit})"
        assert not math.isnan(model.intervals[name].value)
        assert model.undefined[name] == {other: "this fold does not have it"}
    assert set(model.undefined["breast"]) == {1}


def test_a_fold_that_only_one_model_has_is_no_part_of_a_difference(tmp_path: Path) -> None:
    for name, folds in (("a", 2), ("b", 1)):
        for fold in range(folds):
            write_clinical_run(tmp_path / name / str(fold), name, fold, 1, num_folds=3)
    models, notes = measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
    assert "b against a: only one of them has fold 1; left out." in notes
    assert models[1].differences["PQ"].interval.value == 0


def test_runs_of_other_metrics_stand_beside_and_are_told(tmp_path: Path) -> None:
    write_clinical_run(tmp_path / "0", "a", 0, 1, num_folds=3)
    write_measured_run(tmp_path / "1", "b", 0, 1, num_folds=3)
    table = table_of(tmp_path)
    models, notes = measure_models(table, COMPARISON, StatisticsReader())
    assert [model.label for model in models] == ["a", "b"]
    assert "b was evaluated without metrics=clinical: it has few of these numbers." in notes
    assert "breast AUC" in models[0].intervals
    assert "breast AUC" not in models[1].intervals
    assert models[1].strata == []


MEASUREMENT = {"metrics.max_detections": 100, "metrics.dice_reduction": "pooled"}


def test_runs_of_the_papers_metrics_have_intervals_of_their_numbers_and_areas(
    compose_config: Compose, tmp_path: Path
) -> None:
    results = [
        write_measured_run(tmp_path / "runs" / str(fold), "a", fold, 1, num_folds=3, measurement=MEASUREMENT)
        for fold in range(3)
    ]
    table = table_of(tmp_path / "runs")
    (model,), notes = measure_models(table, COMPARISON, StatisticsReader())
    assert notes == []
    assert model.undefined == {}
    threshold = table.models[0].threshold
    for name, key in (
        ("PQ", "panoptic_quality"),
        ("RQ", "recognition_quality"),
        ("SQ", "segmentation_quality"),
        ("AP", "average_precision"),
        ("Dice", "dice"),
    ):
        expected = np.mean([result.at(threshold)[key] for result in results])
        interval = model.intervals[name]
        assert interval.value == pytest.approx(expected)
        assert interval.percentile[0] <= interval.value <= interval.percentile[1]
    curve = np.mean([result.panoptic_quality for result in results], axis=0)
    area = np.trapezoid(curve, results[0].thresholds) / 0.9
    assert model.intervals["PQ area over T"].value == pytest.approx(area)
    assert model.counts == {"images": 18, "patients": 9}
    overrides = [f"runs={tmp_path / 'runs'}", "comparison.bootstrap_samples=20"]
    tables(compose_config("tables", overrides, tmp_path / "out"))
    markdown = (tmp_path / "out" / "phantom.md").read_text()
    assert "**phantom, SYNTHETIC: each number; mean over folds and 95 % interval, percent**" in markdown
    for name in ("PQ", "AP", "Dice", "SQ area over T"):
        assert f"| {name} | " in markdown


def test_paper_runs_without_records_are_told(tmp_path: Path) -> None:
    write_measured_run(tmp_path / "0", "a", 0, 1, num_folds=3, measurement=MEASUREMENT)
    write_measured_run(tmp_path / "1", "b", 0, 2, num_folds=3, measurement=MEASUREMENT)
    shutil.rmtree(tmp_path / "1" / "records")
    models, notes = measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
    assert [model.label for model in models] == ["a"]
    assert notes == [f"b has no records of fold 0 ({tmp_path / '1' / 'records' / 'trained'}): no intervals."]


def test_runs_of_different_settings_are_refused(tmp_path: Path) -> None:
    write_clinical_run(tmp_path / "0", "a", 0, 1, num_folds=3)
    write_clinical_run(tmp_path / "1", "b", 0, 1, settings={"hit_threshold": 0.5}, num_folds=3)
    with pytest.raises(UserError, match=r"differ in metrics\.clinical\.hit_threshold \(0\.5 and 0\.1\)"):
        measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clinical: clinical["isthing"].append(True), "clinical.isthing: 3 values for 2 classes"),
        (lambda clinical: clinical["values"].update(x=None), "clinical.values.x: has no value"),
        (lambda clinical: clinical["values"].update(x=-1), "clinical.values.x: expected numbers"),
        (lambda clinical: clinical["strata"][0].update(found=99), "clinical.strata: all all has impossible"),
        (lambda clinical: clinical["settings"].update(hit_threshold=7), "metrics.clinical.hit_threshold"),
        (lambda clinical: clinical["settings"].pop("hit_rules"), "clinical.settings.hit_rules"),
    ],
)
def test_damaged_results_are_told(tmp_path: Path, change: Callable[[dict], object], message: str) -> None:
    write_clinical_run(tmp_path / "0", "a", 0, 1, num_folds=3)
    path = tmp_path / "0" / "results.json"
    content = json.loads(path.read_text())
    change(content["results"]["trained"]["clinical"])
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())


def test_records_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    write_clinical_run(tmp_path / "0", "a", 0, 0, num_folds=3)
    write_clinical_run(tmp_path / "1", "a", 0, 3, num_folds=3)
    for path in (tmp_path / "1" / "records" / "trained").iterdir():
        (tmp_path / "0" / "records" / "trained" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "1" / "results.json").unlink()
    with pytest.raises(UserError, match="they are not of one evaluation"):
        measure_models(table_of(tmp_path), COMPARISON, StatisticsReader())
