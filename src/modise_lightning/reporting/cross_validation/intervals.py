"""Intervals of mean differences over folds that include the variance between trainings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t as student


def fold_interval(
    differences: Sequence[float], *, confidence: float, num_folds: int
) -> tuple[float, float] | None:
    """Estimate the interval of a mean difference whose folds differ in training and in test patients.

    The corrected resampled t interval (Nadeau and Bengio 2003, Machine Learning 52, section 3): the trainings
    of the folds share most of their images, so that the variance of the mean is (1 / n + test / train) times
    that of the folds, not 1 / n times.

    Args:
        differences: One a fold, n of them.
        confidence: In (0, 1).
        num_folds: Folds of the dataset: one is for the test, one for validation, the others for training.

    Returns:
        Lower and upper bound; None below two folds.
    """
    test_to_train = 1 / max(1, num_folds - 2)
    number = len(differences)
    return _interval(differences, (1 / max(1, number) + test_to_train), 0.0, confidence)


def shared_test_interval(
    differences: Sequence[float], *, confidence: float, patient_deviation: float
) -> tuple[float, float] | None:
    """Estimate the interval of a mean difference whose folds differ in training, but test the same patients.

    By the law of total variance: that of the mean over the trainings, of which the folds' differences tell
    (variance / n), and that over the patients, which the bootstrap tells. As the trainings share images, it
    is rather too narrow than too wide.

    Args:
        differences: One a fold, n of them.
        confidence: In (0, 1).
        patient_deviation: Standard deviation of the mean difference over draws of the patients.

    Returns:
        Lower and upper bound; None below two folds.
    """
    return _interval(differences, 1 / max(1, len(differences)), patient_deviation**2, confidence)


def _interval(
    differences: Sequence[float], factor: float, more_variance: float, confidence: float
) -> tuple[float, float] | None:
    if len(differences) < 2:
        return None
    error = math.sqrt(factor * statistics.variance(differences) + more_variance)
    half = float(student.ppf((1 + confidence) / 2, len(differences) - 1)) * error
    mean = statistics.fmean(differences)
    return mean - half, mean + half
