"""The table of all models: the library's metrics with intervals over patients, and what each model cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modise_lightning.metrics.patients.resampling import Interval
from modise_lightning.reporting.clinical.model_folds import StatisticsReader
from modise_lightning.reporting.clinical.model_intervals import ClinicalModel, measure_models
from modise_lightning.reporting.cross_validation.settings import ComparisonSettings, RunSettings
from modise_lightning.reporting.cross_validation.table import DatasetTable, gather_tables
from modise_lightning.reporting.text_tables.rendering import Line, TextTable
from peer_parts.result_files import read_cost, result_path, unpack_result
from peer_parts.settings import FOLDS, MODELS

THRESHOLD = 0.1  # the paper's on CDD-CESM
# The library's names of the numbers, and the heads of their columns.
NUMBERS = {
    "PQ": "PQ",
    "RQ": "RQ",
    "SQ": "SQ",
    "AP": "AP",
    "Dice": "Dice",
    "FROC mask_iou per image at 1": "FROC at 1",
}
# What models make their results with is theirs; peers have none of the library's settings.
_MAY_DIFFER = (
    "inference._target_",
    "inference.rule",
    "inference.score_threshold",
    "inference.no_object_competes",
    "inference.overlap_threshold",
    "inference.mask_threshold",
    "inference.max_instances",
    "trainer.precision",
)


def find_results(folder: Path) -> dict[str, dict[int, Path]]:
    """Find the result files of each model, by fold."""
    found = {model: {fold: result_path(folder, model, fold) for fold in range(FOLDS)} for model in MODELS}
    return {
        model: {fold: path for fold, path in paths.items() if path.is_file()}
        for model, paths in found.items()
    }


def missing_results(found: Mapping[str, Mapping[int, Path]]) -> list[str]:
    """Say which folds of which models are missing, a line each."""
    lines = []
    for model, paths in found.items():
        missing = [fold for fold in range(FOLDS) if fold not in paths]
        if missing:
            folds = ", ".join(map(str, missing))
            lines.append(
                f"{model}: fold {folds} missing; python benchmarks/peers/run.py --model {model}"
                + (f" --fold {folds}" if len(missing) == 1 else "")
            )
    return lines


def measure(
    found: Mapping[str, Mapping[int, Path]], folder: Path, *, samples: int, reference: str
) -> tuple[DatasetTable, list[ClinicalModel]]:
    """Unpack the results and measure all numbers with their intervals, as ``tables`` does.

    Args:
        found: Result files.
        folder: An empty folder to unpack into.
        samples: Resamples of the patients; 0 for no intervals.
        reference: Model that others are compared with.
    """
    for model, paths in found.items():
        for fold, path in paths.items():
            unpack_result(path, folder / model / f"fold{fold}")
    settings = RunSettings(
        runs=[str(folder)],
        output_dir=str(folder),
        models=["trained"],
        threshold=THRESHOLD,
        threshold_limit=0.9,
        same_fold="error",
        num_folds=FOLDS,
        may_differ=list(_MAY_DIFFER),
    )
    (table,) = gather_tables(settings)
    comparison = ComparisonSettings(reference=reference, bootstrap_samples=samples, confidence=0.95, seed=0)
    models, _ = measure_models(table, comparison, StatisticsReader())
    return table, models


def quality_table(
    models: Sequence[ClinicalModel], found: Mapping[str, Mapping[int, Path]], reference: str
) -> TextTable:
    """Lay out the numbers of all models, the best of each column in bold."""
    heads = ["model", "folds", *NUMBERS.values(), f"PQ minus {reference}"]
    best = {
        name: max(
            (model.intervals[name].value for model in models if name in model.intervals), default=math.nan
        )
        for name in NUMBERS
    }
    lines = []
    for model in models:
        shown = [model.intervals.get(name) for name in NUMBERS]
        bold = [
            each is not None and math.isclose(each.value, best[name])
            for each, name in zip(shown, NUMBERS, strict=True)
        ]
        difference = model.differences.get("PQ")
        cells = [model.label, f"{len(found[model.label])}/{FOLDS}", *map(write_interval, shown)]
        cells.append("" if difference is None else write_interval(difference.interval, signed=True))
        lines.append(Line(cells, [False, False, *bold, False], False))
    notes = [
        f"Percent at an IoU of {THRESHOLD}, mean over the folds, with 95 % intervals over patients "
        "(bootstrap, without the variance between trainings).",
        "FROC at 1: share of the lesions that are found at one false positive per image.",
    ]
    return TextTable("quality", heads, lines, notes)


def cost_table(found: Mapping[str, Mapping[int, Path]]) -> TextTable:
    """Lay out what each model took: means over its folds, and the largest memory."""
    heads = [
        "model",
        "minutes of training",
        "optimizer steps",
        "passes over the images",
        "peak memory, MB",
        "seconds per image",
        "versions",
    ]
    lines = []
    for model, paths in found.items():
        costs = [read_cost(path) for path in paths.values()]
        if not costs:
            continue
        cells = [
            model,
            f"{_mean(costs, 'processor_seconds') / 60:.1f}",
            f"{_mean(costs, 'optimizer_steps'):.0f}",
            f"{statistics.fmean(_passes(cost) for cost in costs):.1f}",
            f"{max(cost['peak_memory_mb'] for cost in costs):.0f}",
            f"{_mean(costs, 'seconds_per_image'):.3f}",
            ", ".join(
                sorted({f"{name} {each}" for cost in costs for name, each in cost["versions"].items()})
            ),
        ]
        lines.append(Line(cells, [False] * len(cells), False))
    budgets = {
        f"{cost['minutes']:g} at {cost['size']} pixels"
        for paths in found.values()
        for cost in map(read_cost, paths.values())
    }
    notes = [
        "Minutes and seconds are of processor time on one core. Budget of each training, in minutes: "
        f"{', '.join(sorted(budgets))}."
    ]
    return TextTable("cost", heads, lines, notes)


def _passes(cost: Mapping[str, Any]) -> float:
    """Give how often a training saw each of its images."""
    return float(cost["images_seen"]) / float(cost["training_images"])


def _mean(costs: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(cost[name] for cost in costs)


def write_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """Write a number in percent with the bounds of its interval; a hyphen where there is none."""
    if interval is None or math.isnan(interval.value):
        return "-"
    sign = "+" if signed else ""
    value = f"{100 * interval.value:{sign}.1f}"
    low, high = (100 * bound for bound in interval.percentile)
    return value if math.isnan(low) else f"{value} ({low:{sign}.1f} to {high:{sign}.1f})"
