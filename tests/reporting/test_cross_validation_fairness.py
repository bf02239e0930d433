"""Tables compare what can be compared: same measurement, folds, classes and threshold; or say what is not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cross_validation_runs import NAMES, chosen_result, identity, write_chosen_run, write_measured_run
from gathered_runs import gather
from modise_lightning.errors import UserError
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.cross_validation.comparison import compare_models
from modise_lightning.reporting.cross_validation.csv_rows import results_csv
from modise_lightning.reporting.cross_validation.layout import comparison_table, result_table
from modise_lightning.reporting.cross_validation.table import DatasetTable
from modise_lightning.reporting.results import write_results

SETTINGS = {
    "inference.score_threshold": 0.5,
    "metrics.dice_reduction": "pooled",
    "trainer.precision": "32-true",
}
METRICS = ["RQ", "SQ", "PQ", "AP", "Dice"]


def only_table(folder: Path, **changes: Any) -> DatasetTable:
    (table,) = gather(folder, **changes)
    return table


def bold(table: DatasetTable) -> dict[str, list[str]]:
    found = {}
    for line in result_table(table, per_class=False).lines:
        flags = dict(zip(METRICS, line.bold[3:8], strict=True))
        found[line.cells[0]] = [metric for metric, flag in flags.items() if flag]
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inference.score_threshold", 0.0),
        ("inference._target_", "plug_in.Inference"),
        ("metrics.dice_reduction", "by_image"),
        ("metrics.max_detections", 10),
        ("data.module.evaluation_transform.image_size", 512),
        ("trainer.precision", "bf16-mixed"),
    ],
)
def test_runs_that_were_measured_differently_share_no_table(key: str, value: Any, tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], measurement=SETTINGS)
    write_chosen_run(tmp_path / "1", "b", 0, [0.1, 0.2, 0.3], measurement=SETTINGS | {key: value})
    with pytest.raises(UserError, match=rf"differ in {key} .*may_differ=\[{key}\]"):
        only_table(tmp_path)
    table = only_table(tmp_path, may_differ=[key])
    assert any(note.startswith(f"The models differ in {key}: a ") for note in table.notes)
    # Folds of one model are one number, whatever may differ between models.
    write_chosen_run(tmp_path / "2", "a", 1, [0.1, 0.2, 0.3], measurement=SETTINGS | {key: value})
    with pytest.raises(UserError, match=rf"differ in {key} "):
        only_table(tmp_path, may_differ=[key])


def test_a_models_own_windows_differ_between_models_only(tmp_path: Path) -> None:
    key = "backbone.window_size"
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], measurement=SETTINGS | {key: 512})
    write_chosen_run(tmp_path / "1", "b", 0, [0.1, 0.2, 0.3], measurement=SETTINGS)
    assert f"The models differ in {key}: a 512, b null." in only_table(tmp_path).notes
    write_chosen_run(tmp_path / "2", "a", 1, [0.1, 0.2, 0.3], measurement=SETTINGS | {key: 256})
    with pytest.raises(UserError, match=rf"differ in {key} \(256 and 512\)"):
        only_table(tmp_path)


def test_folds_that_started_from_other_weights_share_no_table(tmp_path: Path) -> None:
    key = "init_fingerprint"
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], measurement=SETTINGS | {key: "0123"})
    write_chosen_run(tmp_path / "1", "b", 0, [0.1, 0.2, 0.3], measurement=SETTINGS)
    assert f"The models differ in {key}: a 0123, b null." in only_table(tmp_path).notes
    write_chosen_run(tmp_path / "2", "a", 1, [0.1, 0.2, 0.3], measurement=SETTINGS)
    with pytest.raises(UserError, match=rf"differ in {key} \(None and 0123\)"):
        only_table(tmp_path)


def test_older_results_are_told_and_not_mixed(tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], measurement={})
    notes = only_table(tmp_path).notes
    assert (
        "The runs do not say how they were measured, but for metrics.matching=panopticapi: an older version "
        "wrote them."
    ) in notes
    write_chosen_run(tmp_path / "1", "a", 1, [0.1, 0.2, 0.3], measurement=SETTINGS)
    with pytest.raises(UserError, match=r"0 does not say how its numbers were measured .*1 does: evaluate"):
        only_table(tmp_path)


def test_what_was_measured_with_is_printed(tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], measurement=SETTINGS)
    (line,) = [note for note in only_table(tmp_path).notes if note.startswith("Measured with")]
    for part in (
        "inference.score_threshold=0.5",
        "metrics.matching=panopticapi",
        "trainer.precision=32-true",
    ):
        assert part in line


@pytest.mark.parametrize("matching", ["panopticapi", "hungarian", None])
def test_another_matching_than_the_papers_is_told_beside_it(matching: str | None, tmp_path: Path) -> None:
    real = {"dataset": "cdd_cesm", "synthetic": False, "experiment": "m_odise", "matching": matching}
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3], **real)
    told = [note for note in only_table(tmp_path).notes if "the paper's as panopticapi does" in note]
    assert len(told) == (matching != "panopticapi")


def test_missing_folds_are_never_bold(tmp_path: Path) -> None:
    for fold in range(3):
        write_chosen_run(tmp_path / f"a{fold}", "a", fold, [0.1, 0.2, 0.3])
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, [0.2, 0.1, 0.3])
    write_chosen_run(tmp_path / "c", "c", 0, [0.9, 0.9, 0.9])
    table = only_table(tmp_path, threshold=0.1)
    assert bold(table) == {"a": [], "b": METRICS, "c": []}
    assert "Never bold, for their missing folds: c." in result_table(table, per_class=False).notes


def test_as_many_but_other_folds_are_not_compared(tmp_path: Path) -> None:
    for fold in range(2):
        write_chosen_run(tmp_path / f"a{fold}", "a", fold, [0.1, 0.2, 0.3])
        write_chosen_run(tmp_path / f"b{fold}", "b", fold + 1, [0.2, 0.1, 0.3])
    assert bold(only_table(tmp_path)) == {"a": [], "b": []}


def inventing(quality: float, num_thresholds: int = 3) -> Any:
    """Give a result in which malignant has no truth: a mean with a 0 where it was predicted."""
    result = chosen_result([quality] * num_thresholds)
    values = {"benign": [2 * quality] * num_thresholds, "malignant": [0.0] * num_thresholds}
    nothing = {"benign": [0.5] * num_thresholds, "malignant": [math.nan] * num_thresholds}
    return replace(result, panoptic_quality_by_category=values, average_precision_by_category=nothing)


def test_models_are_compared_over_the_classes_that_both_have(tmp_path: Path) -> None:
    """Both find benign with 0.4. One also predicts malignant, which is nowhere: its mean is 0.2."""
    silent = inventing(0.2)
    quality = {"benign": [0.4] * 3, "malignant": [math.nan] * 3}
    silent = replace(silent, panoptic_quality=[0.4] * 3, panoptic_quality_by_category=quality)
    for fold in range(2):
        write_chosen_run(tmp_path / f"a{fold}", "a", fold, silent)
        write_chosen_run(tmp_path / f"b{fold}", "b", fold, inventing(0.2))
    table = only_table(tmp_path)
    assert [row.summary("PQ").mean for row in table.models] == [0.4, 0.2]
    comparisons, notes = compare_models(
        table, StatisticsReader().counts, reference=None, bootstrap_samples=0, confidence=0.95, seed=0
    )
    (quality_difference,) = [each for each in comparisons if each.metric == "PQ"]
    assert quality_difference.differences == {0: 0.0, 1: 0.0}
    assert (
        "b against a, PQ: fold 1 is compared without malignant, which only one of them has in its mean."
        in notes
    )
    assert "PQ" not in bold(table)["a"]
    assert any(
        note.startswith("No row is bold in PQ:") for note in result_table(table, per_class=False).notes
    )


def test_different_thresholds_are_told_in_both_tables(tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3])
    write_chosen_run(tmp_path / "1", "b", 0, [0.2, 0.1, 0.3])
    table = only_table(tmp_path, threshold="each")
    _, notes = compare_models(
        table, StatisticsReader().counts, reference=None, bootstrap_samples=0, confidence=0.95, seed=0
    )
    assert any("different T, each at its own best one (a 0.30, b 0.10)" in note for note in table.notes)
    assert any("different T (threshold=each)" in note for note in notes)
    table = only_table(tmp_path, threshold="common")
    _, notes = compare_models(
        table, StatisticsReader().counts, reference=None, bootstrap_samples=0, confidence=0.95, seed=0
    )
    assert not any("different T" in note for note in (*table.notes, *notes))


@pytest.mark.parametrize(
    ("reference", "expected", "note"),
    [
        (None, "a", "Reference: a, the table's first row whatever the results"),
        ("best", "b", "Reference: b, chosen after the fact for its PQ"),
        ("b", "b", "Reference: b, as set"),
    ],
)
def test_the_reference_is_named(reference: str | None, expected: str, note: str, tmp_path: Path) -> None:
    write_chosen_run(tmp_path / "0", "a", 0, [0.1, 0.2, 0.3])
    write_chosen_run(tmp_path / "1", "b", 0, [0.2, 0.3, 0.3])
    comparisons, notes = compare_models(
        only_table(tmp_path),
        StatisticsReader().counts,
        reference=reference,
        bootstrap_samples=0,
        confidence=0.95,
        seed=0,
    )
    assert {each.reference for each in comparisons} == {expected}
    assert notes[0].startswith(note)


def test_the_smallest_p_is_that_of_the_comparison_with_most_folds(tmp_path: Path) -> None:
    for name, number in (("a", 4), ("b", 4), ("c", 2)):
        for fold in range(number):
            write_chosen_run(tmp_path / f"{name}{fold}", name, fold, [0.1 + 0.01 * number, 0.2, 0.3])
    comparisons, notes = compare_models(
        only_table(tmp_path),
        StatisticsReader().counts,
        reference="a",
        bootstrap_samples=0,
        confidence=0.95,
        seed=0,
    )
    text = " ".join(comparison_table(comparisons, notes, 0.95).notes)
    assert "with 4 folds it cannot be below 0.125." in text


def test_a_common_threshold_is_chosen_over_trained_models_alone(tmp_path: Path) -> None:
    """The baselines are best at 0.3 by far, the trained model at 0.1."""
    results = {
        "trained": chosen_result([0.3, 0.2, 0.1]),
        "untrained": chosen_result([0.0, 0.9, 0.1]),
        "bright blob": chosen_result([0.0, 0.8, 0.1]),
    }
    write_results(tmp_path / "a" / "results.json", results, identity("a", 0))
    table = only_table(tmp_path, models=["trained", "untrained", "bright blob"])
    assert [row.threshold for row in table.models] == [0.1] * 3


def test_the_official_test_set_has_one_draw_and_both_variances(tmp_path: Path) -> None:
    """Three trainings tested on the same images: the records of fold 0 in each."""
    for fold in range(3):
        for name, shift in (("a", 0), ("b", 2)):
            write_measured_run(
                tmp_path / f"{name}{fold}",
                name,
                fold,
                shift,
                images_of=0,
                num_images=10,
                data_split="official",
            )
    table = only_table(tmp_path)
    found, _ = compare_models(
        table, StatisticsReader().counts, reference="a", bootstrap_samples=300, confidence=0.95, seed=0
    )
    by_metric = {each.metric: each for each in found}
    low, high = by_metric["PQ"].interval or (0, 0)
    wider = by_metric["PQ"].interval_with_trainings or (0, 0)
    assert wider[0] < low < by_metric["PQ"].mean < high < wider[1]
    # Neither AP nor Dice has a bootstrap, and the folds' deviation leaves out the patients.
    assert by_metric["AP"].interval_with_trainings is None


def test_quality_at_fixed_thresholds_stands_beside_the_reported_one(tmp_path: Path) -> None:
    result = write_measured_run(tmp_path / "0", "a", 0, 1, num_folds=1)
    assert list(result.panoptic_quality_at) == ["0.1", "0.25", "0.5"]
    table = only_table(tmp_path, threshold=0.3)
    laid_out = result_table(table, per_class=True)
    assert laid_out.columns[3:] == [*METRICS, "PQ 0.1", "PQ 0.25", "PQ 0.5"]
    expected = [result.panoptic_quality[result.thresholds.index(t)] for t in (0.1, 0.25, 0.5)]
    assert laid_out.lines[0].cells[8:] == [f"{100 * value:.2f} ± -" for value in expected]
    of_class = [
        result.panoptic_quality_by_category[NAMES[0]][result.thresholds.index(t)] for t in (0.1, 0.25, 0.5)
    ]
    assert laid_out.lines[1].cells[8:] == [f"{100 * value:.2f} ± -" for value in of_class]
    rows = [line.split(",") for line in results_csv(table).splitlines()]
    assert [row[6] for row in rows if row[7] == "PQ" and not row[4]] == ["0.3", "0.1", "0.25", "0.5"]
