"""What is chosen on validation images, and that no test decides about itself."""

from __future__ import annotations

import numpy as np
import pytest

from modise_lightning.tuning.choice import CandidateCounts, Choice, TunedRun, choose

SAMPLES = {"samples": 200, "confidence": 0.9, "seed": 0}


def counts(patients: str, true_positives: list[float], false_positives: list[float]) -> CandidateCounts:
    """Of one class: each patient alike under each setting; the IoU of a match is 0.8."""
    own = np.zeros((len(patients), len(true_positives), 4, 1))
    own[:, :, 0, 0], own[:, :, 1, 0] = true_positives, false_positives
    own[:, :, 3, 0] = 0.8 * own[:, :, 0, 0]
    return CandidateCounts(tuple(patients), own)


def chosen(*runs: TunedRun) -> Choice:
    return choose(runs, "PQ", **SAMPLES)  # type: ignore[arg-type]


def test_the_best_on_validation_is_chosen_and_measured_on_test_by_hand() -> None:
    """Validation: PQ 0.8 * 2 / (2 + 1) = 0.533, 0.8 and 0.4; test: 0.8 * 3 / 4 = 0.6 against 0.8."""
    run = TunedRun(counts("abc", [2, 2, 1], [2, 0, 2]), counts("def", [3, 3, 3], [2, 0, 0]))
    found = chosen(run)
    assert found.values.tolist() == pytest.approx([0.8 * 2 / 3, 0.8, 0.4])
    assert (found.candidate, found.of_run) == (1, [1])
    assert found.default["PQ"].value == pytest.approx(0.6)
    assert found.tuned["PQ"].value == pytest.approx(0.8)
    assert found.gain["PQ"].value == pytest.approx(0.2)
    assert found.gain["SQ"].value == pytest.approx(0)
    assert found.gain["PQ"].percentile == pytest.approx((0.2, 0.2))  # all patients are alike


def test_of_equal_settings_the_first_one_stays() -> None:
    run = TunedRun(counts("ab", [1, 1], [0, 0]), counts("cd", [1, 1], [0, 9]))
    assert chosen(run).candidate == 0
    assert chosen(run).gain["PQ"].value == 0


def test_a_test_fold_does_not_choose_for_itself() -> None:
    """Three folds: each one's validation images are the next one's test images.

    Setting 1 is far better on patients a, which run 0 tests and run 2 validates, and a bit worse elsewhere.
    """
    good, bad = [1.0, 1.0], [9.0, 0.0]
    slightly = [0.0, 0.2]
    validation = [counts("b", good, slightly), counts("c", good, slightly), counts("a", good, bad)]
    tests = [counts("a", good, bad), counts("b", good, slightly), counts("c", good, slightly)]
    found = chosen(*map(TunedRun, validation, tests))
    assert found.candidate == 1  # all together, as the overlay has it
    # Run 0, which tests a, is decided by b and c alone; run 1 by a and c, run 2 by a and b.
    assert found.of_run == [0, 1, 1]


def test_a_class_that_nothing_shows_is_no_part_and_no_class_is_no_best() -> None:
    empty = CandidateCounts(("a",), np.zeros((1, 2, 4, 1)))
    assert np.isnan(empty.values("PQ")).all()
    some = counts("b", [1, 2], [1, 0])
    assert (
        chosen(
            TunedRun(empty, some), TunedRun(counts("c", [1, 1], [1, 0]), counts("d", [1, 1], [0, 0]))
        ).candidate
        == 1
    )
