"""What Weights & Biases shows of ``metrics=clinical``: each number, all of them with reasons, and strata."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import wandb

from modise_lightning.metrics.clinical.result import ClinicalResult

SECTION = "test_clinical"


def clinical_key(name: str) -> str:
    """Give the key of a number: W&B's charts take letters, digits and underscores."""
    return f"{SECTION}/{re.sub('[^0-9A-Za-z]+', '_', name).strip('_')}"


def clinical_media(clinical: ClinicalResult) -> dict[str, Any]:
    """Make what is logged; a number without a value is in the table alone, with its reason.

    Args:
        clinical: Of the test.
    """
    defined = {name: value for name, value in clinical.values.items() if not math.isnan(value)}
    return {
        **{clinical_key(name): value for name, value in (clinical.counts | defined).items()},
        f"{SECTION}/numbers": _numbers_table(clinical),
        f"{SECTION}/strata": _strata_table(clinical),
    }


def _numbers_table(clinical: ClinicalResult) -> wandb.Table:
    names = dict.fromkeys([*clinical.counts, *clinical.values, *clinical.undefined])
    values = clinical.counts | clinical.values
    rows: list[Iterable[Any]] = [
        [name, _none(values.get(name, math.nan)), clinical.undefined.get(name)] for name in names
    ]
    return wandb.Table(columns=["number", "value", "undefined"], data=rows, allow_mixed_types=True)


def _strata_table(clinical: ClinicalResult) -> wandb.Table:
    columns: list[str | int] = ["by", "level", "lesions", "found", "sensitivity", "low", "high", "mean_iou"]
    rows: list[Iterable[Any]] = []
    for stratum in clinical.strata:
        low, high = stratum.interval(clinical.settings["confidence"])
        shares = (stratum.sensitivity, low, high, stratum.mean_iou)
        rows.append([stratum.by, stratum.level, stratum.lesions, stratum.found, *map(_none, shares)])
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value
