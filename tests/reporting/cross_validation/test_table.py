"""Tables hold the means and deviations of the runs that they were given, and say what is missing."""

from __future__ import annotations

import csv
import math
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cross_validation_runs import (
    NAMES,
    chosen_result,
    without_category,
    write_chosen_run,
    write_crashed_run,
    write_measured_run,
)
from gathered_runs import gather
from modise_lightning.errors import UserError
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.cross_validation.comparison import Comparison, compare_models
from modise_lightning.reporting.cross_validation.csv_rows import results_csv
from modise_lightning.reporting.cross_validation.files import file_names, write_table
from modise_lightning.reporting.cross_validation.layout import comparison_table, result_table
from modise_lightning.reporting.cross_validation.paper import read_paper_tables
from modise_lightning.reporting.cross_validation.runs import find_runs
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.text_tables.rendering import TextTable, to_latex, to_markdown

QUALITIES = [[0.30, 0.40, 0.9], [0.32, 0.30, 0.9], [0.28, 0.38, 0.9], [0.35, 0.33, 0.9], [0.25, 0.45, 0.9]]


def write_five(folder: Path, name: str, offset: float = 0.0, folds: range = range(5), **changes: Any) -> None:
    for fold in folds:
        quality = [value + offset for value in QUALITIES[fold]]
        write_chosen_run(folder / name / str(fold), name, fold, quality, **changes)


def lines(table: TextTable) -> list[list[str]]:
    return [line.cells for line in table.lines]


def test_mean_and_sample_deviation_by_hand(tmp_path: Path) -> None:
    write_five(tmp_path, "m_odise")
    (table,) = gather(tmp_path)
    # Mean PQ: 0.30 at 0.1, 0.372 at 0.3; 0.95 is above the limit.
    (row,) = table.models
    assert row.threshold == 0.3
    values = [40, 30, 38, 33, 45]
    mean, deviation = statistics.fmean(values), math.sqrt(sum((v - 37.2) ** 2 for v in values) / 4)
    shown = f"± {deviation:.2f}"
    assert lines(result_table(table, per_class=False)) == [
        [
            "m_odise",
            "5/5",
            "0.30",
            *(f"{mean + more:.2f} {shown}" for more in (10, 20, 0, 30)),
            "70.00 ± 3.81",  # Dice has no threshold: 40 more than PQ at 0.1
        ]
    ]
    assert table.notes == [
        "All numbers are from synthetic images (phantom), not from patients.",
        "The paper has no row of phantom: its tables are of cdd_cesm and vindr_mammo.",
        "Measured with backbone.window_size=128, inference.score_threshold=0.5, "
        "metrics.matching=panopticapi.",
    ]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    # Means of model b: 0.40 at 0.1, 0.2 at 0.3. Of both: 0.35 and 0.286.
    [("each", [0.3, 0.1]), ("common", [0.1, 0.1]), (0.3, [0.3, 0.3]), (0.95, [0.95, 0.95])],
)
def test_the_threshold_is_chosen_on_the_means(
    threshold: float | str, expected: list[float], tmp_path: Path
) -> None:
    write_five(tmp_path, "a")
    for fold in range(5):
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, [0.4, 0.2, 0.9])
    (table,) = gather(tmp_path, threshold=threshold)
    assert [row.threshold for row in table.models] == expected


def test_an_unknown_threshold_is_told(tmp_path: Path) -> None:
    write_five(tmp_path, "a")
    with pytest.raises(UserError, match=r"threshold: 0\.5 was not evaluated; the runs have \[0\.1"):
        gather(tmp_path, threshold=0.5)


def test_missing_and_crashed_folds_are_told(tmp_path: Path) -> None:
    write_five(tmp_path, "sd-clip", folds=range(1, 4))
    write_crashed_run(tmp_path / "sd-clip" / "4", {"fold": 4})
    write_crashed_run(tmp_path / "sd-clip" / "prepared", {}, command="prepare")
    write_crashed_run(tmp_path / "other", {"name": "x", "data": {"name": "cdd_cesm"}, "fold": "${number}"})
    (table,) = gather(tmp_path)
    notes = "\n".join(table.notes)
    assert "sd-clip: 2 of 5 folds are missing (0, 4); its means are over fold 1, 2, 3 only." in notes
    assert "sd-clip on phantom: the run of fold 4 left no results (it crashed" in notes
    assert "x on cdd_cesm: the run of a fold left no results" in notes
    assert "prepared" not in notes
    assert lines(result_table(table, per_class=False))[0][1] == "3/5"
    assert lines(result_table(table, per_class=False))[0][5] == "33.67 ± 4.04"


def test_two_datasets_are_never_averaged(tmp_path: Path) -> None:
    write_five(tmp_path, "odise", folds=range(3))
    write_five(tmp_path / "real", "odise", 0.1, dataset="cdd_cesm", synthetic=False)
    write_five(tmp_path / "smaller", "odise", 0.2, folds=range(2), dataset_digest="d1")
    write_five(tmp_path / "official", "odise", 0.3, folds=range(1), data_split="official")
    tables = gather(tmp_path, threshold=0.3)
    found = [(table.dataset, table.digest, table.data_split, len(table.models[0].runs)) for table in tables]
    assert found == [
        ("cdd_cesm", "d0", "folds", 5),
        ("phantom", "d0", "folds", 3),
        ("phantom", "d0", "official", 1),
        ("phantom", "d1", "folds", 2),
    ]
    assert [round(table.models[0].summary("PQ").mean, 4) for table in tables] == [0.472, 0.36, 0.7, 0.55]
    names = file_names(tables)
    assert len(set(names)) == 4
    assert names[0] == "cdd_cesm"
    assert any("official" in note for note in tables[2].notes)


def test_names_of_datasets_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    write_five(tmp_path, "odise", dataset="../../etc/x y", dataset_digest="../..")
    write_five(tmp_path / "second", "odise", dataset="../../etc/x y", dataset_digest="..")
    tables = gather(tmp_path)
    for name, table in zip(file_names(tables), tables, strict=True):
        written = write_table(tmp_path / "out", table, [result_table(table, per_class=False)], name)
        assert {path.parent for path in written} == {tmp_path / "out"}
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_the_same_fold_twice_is_refused_or_the_latest_taken(tmp_path: Path) -> None:
    write_five(tmp_path, "odise")
    again = tmp_path / "again"
    write_chosen_run(again, "odise", 2, [0.9, 0.9, 0.9])
    os.utime(again / "results.json", ns=(2**62, 2**62))
    with pytest.raises(UserError, match=r"fold 2 of odise on phantom was run 2 times: .*again, .*same_fold="):
        find_runs([tmp_path], "error")
    found = find_runs([tmp_path], "latest")
    assert sorted(run.identity.fold for run in found.finished) == [0, 1, 2, 3, 4]
    (kept,) = [run for run in found.finished if run.identity.fold == 2]
    assert kept.folder == again
    assert found.notes == [f"Of fold 2 of odise on phantom the latest of 2 runs is taken, {again}."]


def test_the_same_folder_given_twice_counts_once(tmp_path: Path) -> None:
    write_five(tmp_path, "odise")
    found = find_runs([tmp_path, tmp_path / "odise" / "2"], "error")
    assert len(found.finished) == 5


def test_results_of_other_splits_are_left_out(tmp_path: Path) -> None:
    write_five(tmp_path, "odise")
    write_chosen_run(tmp_path / "evaluated", "odise", 2, [0.9, 0.9, 0.9], split="validation")
    (table,) = gather(tmp_path)
    assert table.models[0].values("PQ")[2] == 0.38
    assert any("results.json is of the validation images" in note for note in table.notes)


def test_classes_that_do_not_occur_are_told(tmp_path: Path) -> None:
    for fold in range(5):
        result = chosen_result(QUALITIES[fold])
        if fold in (1, 3):
            result = without_category(result, "benign")
        write_chosen_run(tmp_path / f"a{fold}", "a", fold, result)
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, without_category(result, "malignant"))
    (table,) = gather(tmp_path)
    notes = "\n".join(table.notes)
    assert "a: the class benign does not occur in fold 1, 3, neither in truth nor in prediction" in notes
    assert "b: the class malignant never occurs" in notes
    assert "a: the class malignant" not in notes
    shown = {line[0].strip(): line for line in lines(result_table(table, per_class=True))[:3]}
    assert shown["benign"][5] == "41.00 ± 3.61 (n=3)"
    assert shown["malignant"][5] == "37.20 ± 5.89"
    assert lines(result_table(table, per_class=True))[5][3:7] == ["-"] * 4


def test_a_class_without_truth_is_told(tmp_path: Path) -> None:
    result = chosen_result(QUALITIES[0])
    missing = {**result.average_precision_by_category, "benign": [math.nan] * 3}
    write_chosen_run(
        tmp_path, "a", 0, chosen_result(QUALITIES[0], average_precision_by_category=missing), num_folds=1
    )
    (table,) = gather(tmp_path)
    assert any("AP leaves the class benign out in fold 0" in note for note in table.notes)


def test_different_numbers_of_test_images_are_told(tmp_path: Path) -> None:
    for fold in range(2):
        write_chosen_run(tmp_path / f"a{fold}", "a", fold, chosen_result([0.1] * 3, 4), num_dataset_images=8)
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, chosen_result([0.1] * 3, 3), num_dataset_images=8)
    (table,) = gather(tmp_path)
    assert table.folds == (0, 1, 2, 3, 4)  # the dataset has five, say the results
    notes = "\n".join(table.notes)
    assert "Fold 1 was not tested on the same number of images: a 4, b 3." in notes
    folder = tmp_path / "complete"
    for fold in range(2):
        write_chosen_run(
            folder / f"{fold}",
            "c",
            fold,
            chosen_result([0.1] * 3, 3),
            num_dataset_images=8,
            num_folds=2,
        )
    (table,) = gather(folder)
    assert "c: the folds test 6 of the dataset's 8 images." in table.notes


@pytest.mark.parametrize(
    ("changes", "result", "message"),
    [
        ({"matching": "greedy"}, {}, r"differ in metrics\.matching"),
        ({}, {"thresholds": [0.1, 0.2, 0.3]}, r"differ in metrics\.thresholds"),
        ({}, {"category_names": NAMES[::-1]}, r"differ in categories"),
        ({"num_folds": 4}, {}, r"differ in numbers of folds"),
        ({"experiment": "odise"}, {}, r"both named a, but are of different models"),
        ({"random_parts": ("backbone",)}, {}, r"both named a, but are of different models"),
    ],
)
def test_what_cannot_stand_in_one_table_is_refused(
    changes: dict[str, Any], result: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3])
    write_chosen_run(tmp_path / "1", "a", 1, chosen_result([0.1, 0.2, 0.3], **result), **changes)
    with pytest.raises(UserError, match=message):
        gather(tmp_path)


def test_folders_without_runs_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run with a results\.json"):
        find_runs([tmp_path], "error")
    with pytest.raises(UserError, match="no folder"):
        find_runs([tmp_path / "nowhere"], "error")
    write_crashed_run(tmp_path / "a", {})
    with pytest.raises(UserError, match="but 1 unfinished ones"):
        find_runs([tmp_path], "error")
    (tmp_path / "a" / ".hydra" / "config.yaml").write_bytes(b"a: [\xff")
    with pytest.raises(UserError, match=r"config\.yaml: cannot be read"):
        find_runs([tmp_path], "error")


def test_unknown_models_are_told(tmp_path: Path) -> None:
    write_five(tmp_path, "a")
    with pytest.raises(UserError, match="no run has results of untrained; they have trained"):
        gather(tmp_path, models=["untrained"])


def test_the_paper_stands_under_its_experiments(tmp_path: Path) -> None:
    real = {"dataset": "cdd_cesm", "synthetic": False}
    write_five(tmp_path, "mine", experiment="m_odise", num_dataset_images=496, **real)
    write_five(tmp_path, "tiny", -0.01, experiment="odise", random_parts=("backbone", "captioner"), **real)
    write_five(tmp_path, "own", -0.02, **real)
    (table,) = gather(tmp_path)
    result = result_table(table, per_class=False)
    assert [line[0] for line in lines(result)] == [
        "mine",
        "  paper: M-ODISE",
        "own",
        "tiny",
        "  paper: ODISE",
    ]
    published = [
        "5/5",
        "0.10",
        "46.19 ± 3.39",
        "55.26 ± 1.22",
        "25.44 ± 1.87",
        "40.25 ± 4.90",
        "38.86 ± 2.77",
    ]
    assert lines(result)[1][1:] == published
    assert [line.bold[5] for line in result.lines] == [True, False, False, False, False]
    notes = "\n".join(table.notes)
    assert "The dataset has 496 images here, 1225 in the paper." in notes
    assert "tiny had random weights in backbone, captioner" in notes
    assert "own is none of the paper's six experiments" in notes
    assert "synthetic" not in notes
    assert result.notes[-1] == "The paper's rows are at T 0.10; threshold=0.1 gives ours at the same."
    (table,) = gather(tmp_path, threshold=0.1)
    assert "The paper's rows are at" not in "".join(result_table(table, per_class=False).notes)


def test_other_classes_never_get_the_papers_numbers(tmp_path: Path) -> None:
    write_five(tmp_path, "odise", experiment="odise", dataset="vindr_mammo", synthetic=False)
    (table,) = gather(tmp_path)
    assert [line[0] for line in lines(result_table(table, per_class=False))] == ["odise"]
    assert {row["source"] for row in csv.DictReader(results_csv(table).splitlines())} == {"ours"}
    assert (
        "The classes are not the paper's (BI-RADS 3, BI-RADS 4, BI-RADS 5): its rows are left out."
        in table.notes
    )


def test_a_phantom_never_gets_the_papers_numbers(tmp_path: Path) -> None:
    write_five(tmp_path, "odise", experiment="odise", dataset="cdd_cesm", synthetic=True)
    (table,) = gather(tmp_path)
    assert len(result_table(table, per_class=False).lines) == 1
    assert "SYNTHETIC" in result_table(table, per_class=False).title


def test_the_papers_tables_are_complete_and_those_of_the_reference() -> None:
    paper = read_paper_tables()
    experiments = {"m2f_swin_l", "m2f_sd", "odise", "odise_biomedclip", "odise_mame", "m_odise"}
    assert set(paper) == {(dataset, each) for dataset in ("cdd_cesm", "vindr_mammo") for each in experiments}
    for (dataset, _), row in paper.items():
        assert row.threshold == {"cdd_cesm": 0.1, "vindr_mammo": 0.05}[dataset]
        assert list(row.values) == ["RQ", "SQ", "PQ", "AP", "Dice"]
    # A few cells, typed from the paper.
    assert paper["vindr_mammo", "odise"].values["PQ"] == (27.40, 1.52)
    assert paper["cdd_cesm", "m2f_swin_l"].values["AP"] == (34.46, 0.68)
    assert paper["vindr_mammo", "m2f_sd"].values["Dice"] == (28.59, 7.49)


def test_the_csv_holds_every_value(tmp_path: Path) -> None:
    write_five(tmp_path, "mine", experiment="m_odise", dataset="cdd_cesm", synthetic=False)
    (table,) = gather(tmp_path)
    rows = list(csv.DictReader(results_csv(table).splitlines()))
    assert len(rows) == 3 * 5 + 5
    quality = next(row for row in rows if row["metric"] == "PQ" and not row["class"])
    assert float(quality["mean"]) == pytest.approx(37.2)
    assert [float(quality[f"fold_{fold}"]) for fold in range(5)] == pytest.approx([40, 30, 38, 33, 45])
    assert (quality["iou_threshold"], quality["source"]) == ("0.3", "ours")
    paper = [row for row in rows if row["source"] == "paper"]
    assert [float(row["mean"]) for row in paper] == [46.19, 55.26, 25.44, 40.25, 38.86]
    assert [row["iou_threshold"] for row in paper] == ["0.1"] * 4 + [""]


def test_markdown_and_latex_escape_names(tmp_path: Path) -> None:
    write_five(tmp_path, "a|b_50%[x]")
    write_five(tmp_path, "worse", -0.1)
    (table,) = gather(tmp_path)
    layout = result_table(table, per_class=False)
    markdown = to_markdown(layout)
    assert "| a\\|b\\_50%\\[x\\] | 5/5 | 0.30 |" in markdown
    assert "**37.20 ± 5.89**" in markdown
    assert "**27.20" not in markdown
    assert "- All numbers are from synthetic images" in markdown
    latex = to_latex(layout)
    assert r"a|b\_50\%[x] & 5/5 & 0.30" in latex
    assert r"\textbf{37.20 $\pm$ 5.89}" in latex
    assert latex.count("\\\\\n") == 3
    assert latex.count("{") == latex.count("}")


def compare(table: DatasetTable, **changes: Any) -> tuple[dict[str, Comparison], list[str]]:
    values = {"reference": None, "bootstrap_samples": 400, "confidence": 0.95, "seed": 0}
    comparisons, notes = compare_models(table, StatisticsReader().counts, **{**values, **changes})
    return {each.metric: each for each in comparisons}, notes


def test_differences_by_hand(tmp_path: Path) -> None:
    write_five(tmp_path, "a")
    for fold, quality in enumerate([0.41, 0.28, 0.35, 0.29, 0.40]):
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, [0.1, quality, 0.9])
    (table,) = gather(tmp_path)
    found, notes = compare(table)
    quality = found["PQ"]
    assert (quality.model, quality.reference) == ("b", "a")
    assert list(quality.differences.values()) == pytest.approx([0.01, -0.02, -0.03, -0.04, -0.05])
    assert quality.mean == pytest.approx(-0.026)
    # Ranks 1 to 5; one positive of rank 1. Sums of ranks up to 1 on one side: {} and {1}, of 32, two-sided.
    assert quality.p_value == pytest.approx(2 * 2 / 32)
    assert quality.interval is None
    assert any("no bootstrap interval, fold 0 has no records" in note for note in notes)
    text = to_markdown(comparison_table(list(found.values()), notes, 0.95))
    # Deviation 2.302 of five folds: t(0.975, 4) = 2.776 times 2.302 times the root of 1 / 5 + 1 / 3.
    interval = "-7.27 to +2.07"
    assert f"| b | PQ | +1.00 | -2.00 | -3.00 | -4.00 | -5.00 | -2.60 | - | {interval} | 0.1250 |" in text
    assert "with 5 folds it cannot be below 0.0625" in text


def test_equal_models_and_single_folds_have_no_significance(tmp_path: Path) -> None:
    write_five(tmp_path, "a", folds=range(2))
    write_five(tmp_path, "b", folds=range(2))
    write_five(tmp_path, "c", folds=range(1, 3))
    (table,) = gather(tmp_path)
    comparisons, notes = compare_models(
        table, StatisticsReader().counts, reference="a", bootstrap_samples=0, confidence=0.95, seed=0
    )
    by_model = {(each.model, each.metric): each for each in comparisons}
    assert by_model["b", "PQ"].p_value == 1
    assert math.isnan(by_model["c", "PQ"].p_value)
    assert list(by_model["c", "PQ"].differences) == [1]
    assert notes == [
        "Reference: a, as set (comparison.reference).",
        "c against a: only one of them has fold 0, 2; left out.",
    ]


def test_an_unknown_reference_is_told(tmp_path: Path) -> None:
    write_five(tmp_path, "a")
    write_five(tmp_path, "b")
    (table,) = gather(tmp_path)
    with pytest.raises(UserError, match=r"comparison\.reference: no row 'c'; the table has a, b"):
        compare(table, reference="c")


def test_the_bootstrap_interval_covers_a_clear_difference(tmp_path: Path) -> None:
    for fold in range(3):
        write_measured_run(tmp_path / f"good{fold}", "good", fold, shift=0, num_images=10)
        write_measured_run(tmp_path / f"bad{fold}", "bad", fold, shift=2, num_images=10)
    (table,) = gather(tmp_path)
    found, notes = compare(table, reference="good")
    assert len(notes) == 1
    for metric in ("RQ", "SQ", "PQ"):
        assert found[metric].interval is not None
    low, high = found["PQ"].interval or (0, 0)
    assert low < found["PQ"].mean < high < 0
    again, _ = compare(table, reference="good")
    assert again["PQ"].interval == found["PQ"].interval
    narrow, _ = compare(table, reference="good", confidence=0.5)
    assert low < (narrow["PQ"].interval or (0, 0))[0]
    assert found["AP"].interval is None


def test_the_bootstrap_equals_drawing_patients_one_by_one(tmp_path: Path) -> None:
    from modise_lightning.metrics.records.counts import count_recorded_images
    from modise_lightning.metrics.records.evaluation_records import read_records
    from modise_lightning.reporting.cross_validation.bootstrap import bootstrap_differences

    results = [
        write_measured_run(tmp_path / name, name, 0, shift=shift, num_images=8)
        for name, shift in (("good", 0), ("bad", 2))
    ]
    (table,) = gather(tmp_path, threshold=0.3)
    by_label = {row.label: StatisticsReader().counts(row, 0) for row in table.models}
    both = by_label["good"], by_label["bad"]
    found_interval = bootstrap_differences([both], samples=30, confidence=0.9, seed=3)["PQ"]
    low, high = found_interval.low, found_interval.high
    records = [read_records(tmp_path / name / "records" / "trained") for name in ("good", "bad")]
    patients = sorted(set(records[0].images["patient_id"]))
    weights = np.random.default_rng(3).multinomial(4, [1 / 4] * 4, size=30)
    counts_of_images = [
        count_recorded_images(
            record.instances,
            record.overlaps,
            image_ids=record.images["image_id"].tolist(),
            category_names=results[0].category_names,
            thresholds=[0.3],
            matching="panopticapi",
        )
        for record in records
    ]
    differences = []
    for sample in weights:
        values = []
        for record, counts in zip(records, counts_of_images, strict=True):
            images = [
                image
                for patient, times in zip(patients, sample, strict=True)
                for image in np.flatnonzero(record.images["patient_id"] == patient).tolist() * int(times)
            ]
            per_class = {}
            for label in range(2):
                tp, fp, fn, iou = (
                    sum(counts[image, 0, part, label] for image in images) for part in range(4)
                )
                if tp + fp + fn:
                    per_class[label] = iou / (tp + fp / 2 + fn / 2)
            values.append(per_class)
        shared = set(values[0]) & set(values[1])
        differences.append(statistics.fmean(values[0][label] - values[1][label] for label in shared))
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])), abs=1e-12)


def test_records_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    write_measured_run(tmp_path / "a", "a", 0, shift=0)
    write_measured_run(tmp_path / "b", "b", 0, shift=2)
    for file in (tmp_path / "b" / "records" / "trained").iterdir():
        file.write_bytes((tmp_path / "a" / "records" / "trained" / file.name).read_bytes())
    (table,) = gather(tmp_path)
    with pytest.raises(UserError, match="they are not of one evaluation"):
        compare(table)


def test_other_test_images_give_no_interval(tmp_path: Path) -> None:
    write_measured_run(tmp_path / "a", "a", 0, shift=0, num_images=6)
    write_measured_run(tmp_path / "b", "b", 0, shift=2, num_images=5)
    (table,) = gather(tmp_path)
    found, notes = compare(table)
    assert found["PQ"].interval is None
    assert any("not tested on the same images" in note for note in notes)
