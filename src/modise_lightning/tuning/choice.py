"""Chooses settings by what they are worth on validation images, each test fold without its own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modise_lightning.metrics.patients.resampling import Bootstrap, Interval
from modise_lightning.metrics.patients.statistics import (
    SegmentCounts,
    Values,
    defined_mean,
    quality_by_class,
)

METRICS = ("PQ", "RQ", "SQ")


@dataclass(frozen=True)
class CandidateCounts:
    """What S settings find in a split of one run.

    Attributes:
        patients: P names, sorted.
        counts: (P, S, 4, K) true positives, false positives, false negatives and IoU sum.
    """

    patients: tuple[str, ...]
    counts: Values

    def values(self, metric: str) -> Values:
        """Give a metric of each setting, (S,): the mean over the classes that occur."""
        return defined_mean(quality_by_class(self.counts.sum(0))[metric], 1)

    def of(self, candidate: int) -> SegmentCounts:
        """Give what one setting finds."""
        return SegmentCounts(self.patients, self.counts[:, candidate])


@dataclass(frozen=True)
class TunedRun:
    """One run on its validation and test images.

    Attributes:
        validation: The first of the S settings is the default.
        test: Likewise.
    """

    validation: CandidateCounts
    test: CandidateCounts


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what it is worth.

    Attributes:
        candidate: The setting that is best on the validation images of all runs.
        values: (S,) of each setting, mean over the runs.
        of_run: For the test of each run, what was chosen without the images of that test.
        default: On the test images, by metric.
        tuned: Likewise, with ``of_run``.
        gain: Of the one over the other, with its interval.
    """

    candidate: int
    values: Values
    of_run: list[int]
    default: dict[str, Interval]
    tuned: dict[str, Interval]
    gain: dict[str, Interval]


def choose(runs: Sequence[TunedRun], metric: str, *, samples: int, confidence: float, seed: int) -> Choice:
    """Choose the setting with the highest mean over runs on validation images; of equal ones the first.

    In a cross-validation the validation images of one run are the test images of another one. What is shown
    on the test images of a run is therefore chosen from the runs whose validation images show none of its
    test patients; its own always do not.

    Args:
        runs: Models, each with its own split.
        metric: PQ, RQ or SQ.
        samples: Resamples of the patients.
        confidence: Of the intervals.
        seed: Of the resamples.
    """
    values = np.stack([run.validation.values(metric) for run in runs])
    of_run = []
    for run in runs:
        tested = set(run.test.patients)
        others = [index for index, each in enumerate(runs) if tested.isdisjoint(each.validation.patients)]
        of_run.append(_best(values[others]))
    bootstrap = Bootstrap(samples=samples, confidence=confidence, seed=seed)
    default = bootstrap.measure([run.test.of(0) for run in runs])
    tuned = bootstrap.measure([run.test.of(own) for run, own in zip(runs, of_run, strict=True)])
    return Choice(
        candidate=_best(values),
        values=defined_mean(values, 0),
        of_run=of_run,
        default=bootstrap.intervals(default),
        tuned=bootstrap.intervals(tuned),
        gain=bootstrap.intervals(tuned, minus=default),
    )


def _best(values: Values) -> int:
    """Find the best of (R, S) by its mean over R; NaN, where no class occurs, is below all."""
    means = defined_mean(values, 0)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))
