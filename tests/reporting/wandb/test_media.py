"""Charts of the dashboard hold what is defined, and nothing else."""

from __future__ import annotations

import math

from cross_validation_runs import NAMES, THRESHOLDS, chosen_result
from modise_lightning.reporting.evaluation_charts import CURVES
from modise_lightning.reporting.wandb.media import make_threshold_curves


def test_a_metric_without_any_value_has_no_chart() -> None:
    """As of a validation set without a lesion; the others are shown all the same."""
    nothing = [math.nan] * len(THRESHOLDS)
    result = chosen_result(
        [0.3] * len(THRESHOLDS),
        average_precision=nothing,
        average_precision_by_category=dict.fromkeys(NAMES, nothing),
    )
    assert set(make_threshold_curves(result)) == set(CURVES) - {"average_precision"}
