"""One model's results over the folds of a cross-validation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modise_lightning.errors import UserError
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.cross_validation.runs import FinishedRun

# Columns of the paper's tables, and what they are called in an ``EvaluationResult``.
METRICS = {
    "RQ": "recognition_quality",
    "SQ": "segmentation_quality",
    "PQ": "panoptic_quality",
    "AP": "average_precision",
    "Dice": "dice",
}


@dataclass(frozen=True)
class Summary:
    """Of one metric over folds, as fractions.

    Attributes:
        mean: Over the folds in which the metric is defined; NaN when it is in none.
        deviation: Sample standard deviation (n - 1) over them; NaN below two.
        count: Number of those folds.
    """

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Summarise one value a fold; NaN where the metric is undefined."""
        defined = [value for value in values if not math.isnan(value)]
        return cls(
            mean=statistics.fmean(defined) if defined else math.nan,
            deviation=statistics.stdev(defined) if len(defined) > 1 else math.nan,
            count=len(defined),
        )


@dataclass(frozen=True)
class ModelFolds:
    """One model's results of all its folds.

    Attributes:
        label: In the table: the run's name, with the model behind it unless it is the trained one.
        model: "trained", "untrained", ...
        runs: By fold, rising.
        threshold: IoU threshold that it is reported at.
    """

    label: str
    model: str
    runs: dict[int, FinishedRun]
    threshold: float

    @property
    def results(self) -> dict[int, EvaluationResult]:
        """Result of each fold."""
        return {fold: run.results[self.model] for fold, run in self.runs.items()}

    def records_folder(self, fold: int) -> Path:
        """Give the folder of a fold's records; it may be missing."""
        return self.runs[fold].folder / "records" / self.model.replace(" ", "_")

    def values(self, metric: str) -> dict[int, float]:
        """Give a metric of each fold at the threshold.

        Args:
            metric: One of ``METRICS``.
        """
        return {fold: result.at(self.threshold)[METRICS[metric]] for fold, result in self.results.items()}

    def classes(self, metric: str, fold: int) -> list[str]:
        """Give the classes that a metric's mean is over in a fold: those in which it is defined."""
        names = self.results[fold].category_names
        return [name for name in names if not math.isnan(self.values_of_category(metric, name)[fold])]

    def values_of_category(self, metric: str, category: str) -> dict[int, float]:
        """Give a metric of a single class of each fold at the threshold."""
        found = {}
        for fold, result in self.results.items():
            values = getattr(result, f"{METRICS[metric]}_by_category")[category]
            found[fold] = values if metric == "Dice" else values[threshold_index(result, self.threshold)]
        return found

    def quality_at(self, threshold: float, category: str | None = None) -> dict[int, float]:
        """Give PQ of each fold at any threshold that was evaluated, of all classes or of one."""
        return {
            fold: (
                result.panoptic_quality if category is None else result.panoptic_quality_by_category[category]
            )[threshold_index(result, threshold)]
            for fold, result in self.results.items()
        }

    def summary(self, metric: str, category: str | None = None) -> Summary:
        """Summarise a metric over the folds, of all classes or of one."""
        by_fold = self.values(metric) if category is None else self.values_of_category(metric, category)
        return Summary.of(list(by_fold.values()))


def threshold_index(result: EvaluationResult, threshold: float) -> int:
    """Find a threshold among those that were evaluated.

    Raises:
        UserError: It was not.
    """
    for index, value in enumerate(result.thresholds):
        if math.isclose(value, threshold):
            return index
    raise UserError(f"threshold: {threshold} was not evaluated; the runs have {result.thresholds}.")
