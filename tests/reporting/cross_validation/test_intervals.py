"""Intervals of differences: over patients, over trainings, and with a test set that the folds share."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from modise_lightning.reporting.cross_validation.bootstrap import PatientCounts, bootstrap_differences
from modise_lightning.reporting.cross_validation.intervals import fold_interval, shared_test_interval

DIFFERENCES = [0.01, -0.02, -0.03, -0.04, -0.05]


def counts_of(generator: np.random.Generator, patients: tuple[str, ...], quality: float) -> PatientCounts:
    """Make counts of one class: each patient has four lesions, found with a chance of ``quality``."""
    found = generator.binomial(4, quality, len(patients)).astype(float)
    counts = np.stack([found, np.zeros_like(found), 4 - found, 0.7 * found], 1)[..., None]
    return PatientCounts(list(range(len(patients))), patients, counts)


def bootstrap(folds: list[tuple[PatientCounts, PatientCounts]], **changes: Any) -> Any:
    values = {"samples": 2000, "confidence": 0.95, "seed": 0} | changes
    return bootstrap_differences(folds, **values)["PQ"]


def test_a_shared_test_set_is_drawn_once_for_all_folds() -> None:
    """Five trainings with the same differences tell as much of the patients as one does."""
    generator = np.random.default_rng(0)
    patients = tuple(f"p{number:02}" for number in range(40))
    pair = counts_of(generator, patients, 0.6), counts_of(generator, patients, 0.4)
    one, five = bootstrap([pair]), bootstrap([pair] * 5)
    assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=1e-12)
    # Other patients in each fold tell more: the interval is narrower by about the root of five.
    others = [
        (
            PatientCounts(pair[0].image_ids, tuple(f"{fold}{name}" for name in patients), pair[0].counts),
            PatientCounts(pair[1].image_ids, tuple(f"{fold}{name}" for name in patients), pair[1].counts),
        )
        for fold in range(5)
    ]
    own = bootstrap(others)
    assert (one.high - one.low) / (own.high - own.low) == pytest.approx(math.sqrt(5), rel=0.1)
    assert five.deviation == pytest.approx(one.deviation)


def test_a_class_that_a_sample_lacks_is_no_zero() -> None:
    """Only one of two patients has the second class, which both models find perfectly."""
    both = np.zeros((2, 4, 2))
    both[:, 0, 0], both[:, 3, 0] = 1, 1  # the first class, found perfectly in both patients
    both[0, 0, 1], both[0, 3, 1] = 1, 1  # the second class, in the first patient
    worse = both.copy()
    worse[:, 3] *= 0.5
    first, second = (PatientCounts([0, 1], ("p0", "p1"), counts) for counts in (both, worse))
    found = bootstrap([(first, second)])
    # Whatever is drawn, the classes that are there differ by one half; a zero would make it one quarter.
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))


def test_a_class_that_only_one_model_has_in_a_sample_is_left_out_for_both() -> None:
    counts = np.zeros((2, 4, 2))
    counts[:, 0, 0], counts[:, 3, 0] = 1, 0.8
    invented = counts.copy()
    invented[:, 1, 1] = 1  # a false positive of a class without truth: PQ 0 in this model's mean alone
    first, second = (PatientCounts([0, 1], ("p0", "p1"), each) for each in (counts, invented))
    found = bootstrap([(first, second)])
    assert (found.low, found.high) == pytest.approx((0, 0))


def test_the_interval_over_folds_is_the_corrected_t_interval() -> None:
    low, high = fold_interval(DIFFERENCES, confidence=0.95, num_folds=5) or (0, 0)
    # scipy's t interval has the variance / 5; the corrected one has (1 / 5 + 1 / 3) of it.
    plain = ttest_1samp(DIFFERENCES, 0).confidence_interval(0.95)
    mean = statistics.fmean(DIFFERENCES)
    ratio = math.sqrt((1 / 5 + 1 / 3) * 5)
    assert (low, high) == pytest.approx(
        (mean - (mean - plain.low) * ratio, mean + (plain.high - mean) * ratio)
    )
    assert fold_interval([0.1], confidence=0.95, num_folds=5) is None


def test_with_a_shared_test_set_the_variances_add_up() -> None:
    plain = ttest_1samp(DIFFERENCES, 0).confidence_interval(0.95)
    only_trainings = shared_test_interval(DIFFERENCES, confidence=0.95, patient_deviation=0.0)
    assert only_trainings == pytest.approx((plain.low, plain.high))
    error = math.sqrt(statistics.variance(DIFFERENCES) / 5)
    low, high = shared_test_interval(DIFFERENCES, confidence=0.95, patient_deviation=error) or (0, 0)
    assert (high - low) == pytest.approx(math.sqrt(2) * (plain.high - plain.low))
