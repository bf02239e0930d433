"""Weighted metrics equal those of patients that are repeated, by the functions that know no weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.metrics.curves.froc import froc_curve
from modise_lightning.metrics.curves.precision_recall import precision_at_recalls
from modise_lightning.metrics.patients.found_targets import FoundTargets
from modise_lightning.metrics.patients.patient_weights import RESAMPLES_AT_A_TIME, positions_in, to_ranks
from modise_lightning.metrics.patients.ranked_instances import RankedInstances, ScoredDetections
from modise_lightning.metrics.patients.scored_cases import ScoredCases
from modise_lightning.metrics.patients.statistics import RatioOfSums, SegmentCounts, sum_by_patient

SEEDS = st.integers(0, 2**32 - 1)
PATIENTS = tuple("abcdefg")


def draw_weights(generator: np.random.Generator, samples: int = 4) -> np.ndarray:
    return generator.integers(0, 4, (samples, len(PATIENTS))).astype(float)


def repeat(weights: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Positions of the rows of a resample: each row as often as its patient, copies side by side."""
    return np.repeat(np.arange(len(patient)), weights[patient].astype(int))


@given(seed=SEEDS)
@settings(deadline=None)
def test_average_precision_of_repeated_patients(seed: int) -> None:
    generator = np.random.default_rng(seed)
    number = int(generator.integers(0, 40))
    patient = generator.integers(0, len(PATIENTS), number)
    scores = generator.integers(0, 9, number) / 8
    correct = generator.random(number) < 0.4
    lesions = np.bincount(patient[correct], minlength=len(PATIENTS)) + generator.integers(0, 3, len(PATIENTS))
    found = ScoredDetections(scores, correct, patient, lesions.astype(float))
    weights = draw_weights(generator)
    areas = found.average_precision(weights)
    for own, area in zip(weights, areas, strict=True):
        rows = repeat(own, patient)
        expected = precision_at_recalls(scores[rows], correct[rows], int(own @ lesions)).mean()
        assert area == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_average_precision_by_hand() -> None:
    """Ranking: b's hit, a's false one, a's hit, a's false one; a has two lesions, b one."""
    found = ScoredDetections(
        scores=np.array([0.8, 0.7, 0.9, 0.1]),
        correct=np.array([False, True, True, False]),
        patient=np.array([0, 0, 1, 0]),
        lesions=np.array([2.0, 1.0]),
    )
    once, without_b, twice_a = found.average_precision(np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 1.0]]))
    # Recall 1/3 at precision 1, 2/3 at 2/3: 34 and 33 of 101 points.
    assert once == pytest.approx((34 + 33 * 2 / 3) / 101)
    # Recall 1/2 at precision 1/2: 51 points.
    assert without_b == pytest.approx(51 * 0.5 / 101)
    # Recall 1/5 at precision 1; then two false ones, two hits: recall 3/5 at 3/5: 21 and 40 points.
    assert twice_a == pytest.approx((21 + 40 * 3 / 5) / 101)


def test_a_class_without_truth_has_no_average_precision() -> None:
    nothing = ScoredDetections(np.array([0.5]), np.array([False]), np.array([0]), np.zeros(1))
    ranked = RankedInstances(("a",), (nothing, None))
    assert np.isnan(ranked.measure(np.ones((2, 1)))["AP"]).all()


@given(
    seed=SEEDS,
    normal_only=st.booleans(),
    times=st.sampled_from([1, 80]),
    num_false=st.sampled_from([12, 400]),
)
@settings(deadline=None)
def test_froc_of_repeated_images(seed: int, normal_only: bool, times: int, num_false: int) -> None:
    """A patient has one image; false positives are counted in all images, or in those without lesions.

    With hundreds of cuts they are looked at in parts, up to those that let too much through.
    """
    generator = np.random.default_rng(seed)
    rates = (0.125, 0.5, 1.0, 4.0)
    lesions = times * generator.integers(0, 3, len(PATIENTS))
    lesion_patient = np.repeat(np.arange(len(PATIENTS)), lesions)
    found_at = np.where(
        generator.random(len(lesion_patient)) < 0.6,
        generator.integers(0, 6 * times, len(lesion_patient)) / 5,
        -np.inf,
    )
    false_patient = np.sort(generator.integers(0, len(PATIENTS), num_false))
    counted = (lesions == 0) if normal_only else np.ones(len(PATIENTS), dtype=bool)
    false_patient = false_patient[counted[false_patient]]
    false_score = generator.integers(0, 6 * times, len(false_patient)) / 5
    targets = FoundTargets(
        "FROC", PATIENTS, rates, lesion_patient, found_at, false_patient, false_score, counted.astype(float)
    )
    weights = draw_weights(generator)
    measured = targets.measure(weights)
    for row, own in enumerate(weights):
        kept, wrong = repeat(own, lesion_patient), repeat(own, false_patient)
        images = int(own[counted].sum())
        hits = np.flatnonzero(np.isfinite(found_at[kept]))
        scores = np.concatenate([found_at[kept][hits], false_score[wrong]])
        curve = froc_curve(
            Detections(
                num_images=max(images, 1),
                scores=scores,
                labels=np.zeros(len(scores), dtype=np.int64),
                images=np.zeros(len(scores), dtype=np.int64),
                truth_labels=np.zeros(len(kept), dtype=np.int64),
                truth_images=np.zeros(len(kept), dtype=np.int64),
                pair_detection=np.arange(len(hits)),
                pair_truth=hits,
                pair_iou=np.ones(len(hits)),
            ),
            threshold=0.5,
            label=None,
        )
        expected = curve.at(rates) if images else np.full(len(rates), np.nan)
        found = [measured[f"FROC at {rate:g}"][row, 0] for rate in rates]
        np.testing.assert_allclose(found, expected)
        np.testing.assert_allclose(measured["FROC, mean"][row, 0], np.mean(expected))


@given(seed=SEEDS)
@settings(deadline=None)
def test_areas_of_repeated_cases_are_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(len(PATIENTS)), 2)
    scores = generator.integers(0, 6, len(patient)) / 5
    positive = generator.random(len(patient)) < 0.5
    cases = ScoredCases("breast", PATIENTS, patient, scores, positive, 0.1, 0.9, (0.8, 0.95))
    weights = draw_weights(generator)
    measured = cases.measure(weights)
    for row, own in enumerate(weights):
        rows = repeat(own, patient)
        if len(set(positive[rows])) < 2:
            assert np.isnan(measured["breast AUC"][row, 0])
            continue
        truth, shown = positive[rows], scores[rows]
        expected = {
            "breast AUC": roc_auc_score(truth, shown),
            "breast pAUC FPR ≤ 0.1": roc_auc_score(truth, shown, max_fpr=0.1),
            "breast pAUC sensitivity ≥ 0.9": roc_auc_score(~truth, -shown, max_fpr=0.1),
            "breast PR area": average_precision_score(truth, shown),
        }
        assert {name: measured[name][row, 0] for name in expected} == pytest.approx(expected)


@given(seed=SEEDS)
def test_sums_of_repeated_patients(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 3, (len(PATIENTS), 4, 2)).astype(float)
    counts[:, 3] = counts[:, 0] * 0.7
    weights = draw_weights(generator)
    quality = SegmentCounts(PATIENTS, counts).measure(weights)
    ratio = RatioOfSums("Dice", PATIENTS, counts[:, 0], counts[:, 1]).measure(weights)["Dice"]
    for row, own in enumerate(weights.astype(int)):
        for label in range(2):
            found, false, missed, iou = (
                sum(counts[p, i, label] * own[p] for p in range(len(own))) for i in range(4)
            )
            whole = found + false / 2 + missed / 2
            expected = iou / whole if whole else np.nan
            assert quality["PQ"][row, label] == pytest.approx(expected, nan_ok=True)
            assert ratio[row, label] == pytest.approx(found / false if false else np.nan, nan_ok=True)


def test_rows_of_a_patient_are_added_up() -> None:
    patients, sums = sum_by_patient(["b", "a", "b"], np.array([[1.0], [2.0], [4.0]]))
    assert patients == ("a", "b")
    assert sums.tolist() == [[2.0], [5.0]]
    assert positions_in(patients, ["b", "a"]).tolist() == [1, 0]


def test_ranks_keep_the_order_and_the_ties() -> None:
    assert to_ranks(np.array([0.2, 0.9, 0.9, 0.1])).tolist() == [-3.0, -1.5, -1.5, -4.0]


def make_cases(generator: np.random.Generator) -> ScoredCases:
    patient = np.repeat(np.arange(len(PATIENTS)), 2)
    truth = np.arange(len(patient)) % 3 == 0
    scores = generator.integers(0, 6, len(patient)) / 5
    return ScoredCases("breast", PATIENTS, patient, scores, truth, 0.1, 0.9, (0.9,))


def make_instances(generator: np.random.Generator) -> RankedInstances:
    patient = generator.integers(0, len(PATIENTS), 20)
    correct = generator.random(20) < 0.5
    lesions = np.bincount(patient[correct], minlength=len(PATIENTS)) + 1.0
    detections = ScoredDetections(generator.random(20), correct, patient, lesions)
    return RankedInstances(PATIENTS, (detections, None))


def make_targets(generator: np.random.Generator) -> FoundTargets:
    found_at = np.where(generator.random(9) < 0.7, generator.random(9), -np.inf)
    false = generator.random(9)
    rows = generator.integers(0, len(PATIENTS), 9)
    return FoundTargets("FROC", PATIENTS, (0.5, 2.0), rows, found_at, rows, false, np.ones(len(PATIENTS)))


@pytest.mark.parametrize("make", [make_cases, make_instances, make_targets])
def test_many_resamples_are_measured_as_each_alone(make: Callable[..., Any]) -> None:
    """They are taken some at a time."""
    generator = np.random.default_rng(5)
    statistic = make(generator)
    weights = draw_weights(generator, samples=2 * RESAMPLES_AT_A_TIME + 3)
    alone = [statistic.measure(row[None]) for row in weights]
    for name, values in statistic.measure(weights).items():
        np.testing.assert_array_equal(values, np.concatenate([each[name] for each in alone]))


@given(seed=SEEDS)
def test_a_model_beside_another_one_can_be_measured_alone(seed: int) -> None:
    """With the other one's patients left out, each number is that of the model itself."""
    generator = np.random.default_rng(seed)
    alone = np.hstack([np.ones((1, len(PATIENTS))), np.zeros((1, len(PATIENTS)))])

    for make in (make_cases, make_instances, make_targets):
        first, second = make(generator), make(generator)
        both = first.beside(second)  # type: ignore[arg-type]
        for model, weights in ((first, alone), (second, 1 - alone)):
            expected = model.measure(np.ones((1, len(PATIENTS))))
            for name, value in both.measure(weights).items():
                np.testing.assert_allclose(value, expected[name])
