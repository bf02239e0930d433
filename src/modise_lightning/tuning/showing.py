"""Shows what a tuning chose: a table, all numbers as JSON, the overlay, and a picture of the thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from matplotlib.figure import Figure

from modise_lightning.atomic_files import write_bytes_atomically, write_text_atomically
from modise_lightning.metrics.patients.resampling import Interval
from modise_lightning.reporting.figures.style import SMALL, figure_style, line_style
from modise_lightning.reporting.files import write_json_atomically
from modise_lightning.reporting.text_tables.rendering import Line, TextTable, to_markdown
from modise_lightning.tuning.choice import METRICS, Choice, TunedRun
from modise_lightning.tuning.settings import Candidate

_NAMES = ("score_threshold", "overlap_threshold", "mask_threshold")


@dataclass(frozen=True)
class Tuning:
    """Everything that a tuning found.

    Attributes:
        model: Name of the model.
        dataset: Name of the dataset.
        note: A line that numbers of this dataset carry.
        checkpoints: Of the runs.
        candidates: S settings, the default first.
        runs: What they find.
        choice: What was chosen.
        metric: By what.
        iou_threshold: At which IoU.
        confidence: Of the intervals.
    """

    model: str
    dataset: str
    note: str | None
    checkpoints: Sequence[Path]
    candidates: Sequence[Candidate]
    runs: Sequence[TunedRun]
    choice: Choice
    metric: str
    iou_threshold: float
    confidence: float


def describe(candidate: Candidate) -> str:
    """Name settings in words."""
    return (
        f"score {candidate.score_threshold:g}, overlap {candidate.overlap_threshold:g}, "
        f"mask {candidate.mask_threshold:g}, flips {'+'.join(candidate.flips)}"
    )


def tuning_table(tuning: Tuning) -> TextTable:
    """Compare default and tuned settings on the test images, in percent."""
    choice = tuning.choice
    rows = {"default": choice.default, "tuned": choice.tuned, "gain": choice.gain}
    lines = [
        Line([name, *(_shown(intervals[metric]) for metric in METRICS)], [False] * 4, False)
        for name, intervals in rows.items()
    ]
    chosen = tuning.candidates[choice.candidate]
    own = sorted({describe(tuning.candidates[index]) for index in choice.of_run})
    notes = [
        f"Chosen by {tuning.metric} on all validation images: {describe(chosen)}.",
        f"The default: {describe(tuning.candidates[0])}.",
        "For each run's test chosen without the images of that test: " + "; ".join(own) + ".",
        f"In brackets: {tuning.confidence:.0%} of resamples of patients (percentiles).",
        *([tuning.note] if tuning.note else []),
    ]
    if chosen in tuning.candidates[:1]:
        notes.insert(1, "Nothing is better than the default on the validation images.")
    columns = ["in percent", *(f"{metric} at IoU {tuning.iou_threshold:g}" for metric in METRICS)]
    number = len(tuning.runs)
    title = f"{tuning.model} on {tuning.dataset}: test images of {number} run{'s' if number > 1 else ''}"
    return TextTable(title, columns, lines, notes)


def write_tuning(folder: Path, tuning: Tuning) -> list[Path]:
    """Write ``settings.yaml``, ``tuning.md``, ``tuning.json`` and ``tuning.png``.

    Returns:
        The files.
    """
    chosen = tuning.candidates[tuning.choice.candidate]
    names = ("settings.yaml", "tuning.md", "tuning.json", "tuning.png")
    overlay, table, numbers, picture = (folder / name for name in names)
    note = f" {tuning.note}" if tuning.note else ""
    head = (
        f"# Chosen by {tuning.metric} at IoU {tuning.iou_threshold:g} on the validation images of "
        f"{len(tuning.runs)} run(s) of {tuning.model} on {tuning.dataset}.{note}\n"
        "# For evaluate and predict: settings=FILE.\n"
    )
    write_text_atomically(overlay, head + yaml.safe_dump(chosen.overlay(), sort_keys=False))
    write_text_atomically(table, to_markdown(tuning_table(tuning)))
    write_json_atomically(numbers, _plain(tuning))
    write_bytes_atomically(picture, _draw(tuning))
    return [overlay, table, numbers, picture]


def _shown(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    low, high = (100 * bound for bound in interval.percentile)
    return f"{100 * interval.value:.2f} [{low:.2f}, {high:.2f}]"


def _plain(tuning: Tuning) -> dict[str, Any]:
    choice = tuning.choice

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    def intervals(found: dict[str, Interval]) -> dict[str, Any]:
        return {
            metric: {"value": number(own.value), "interval": [number(bound) for bound in own.percentile]}
            for metric, own in found.items()
        }

    return {
        "model": tuning.model,
        "dataset": tuning.dataset,
        "note": tuning.note,
        "checkpoints": [str(path) for path in tuning.checkpoints],
        "metric": tuning.metric,
        "iou_threshold": tuning.iou_threshold,
        "confidence": tuning.confidence,
        "chosen": asdict(tuning.candidates[choice.candidate]),
        "default": asdict(tuning.candidates[0]),
        "chosen_for_the_test_of_each_run": [asdict(tuning.candidates[own]) for own in choice.of_run],
        "test": {
            "default": intervals(choice.default),
            "tuned": intervals(choice.tuned),
            "gain": intervals(choice.gain),
        },
        "validation": [
            {**asdict(candidate), tuning.metric: number(value)}
            for candidate, value in zip(tuning.candidates, choice.values.tolist(), strict=True)
        ],
    }


def _draw(tuning: Tuning) -> bytes:
    """Draw the best value that is possible with each value of a threshold, for each choice of flips."""
    from io import BytesIO

    values = np.asarray(tuning.choice.values) * 100
    flips = list(dict.fromkeys(candidate.flips for candidate in tuning.candidates))
    with figure_style():
        figure = Figure(figsize=(7.0, 2.5), layout="constrained")
        axes = figure.subplots(1, len(_NAMES), sharey=True)
        for axis, name in zip(axes, _NAMES, strict=True):
            for index, own in enumerate(flips):
                best: dict[float, float] = {}
                for candidate, value in zip(tuning.candidates, values.tolist(), strict=True):
                    if candidate.flips == own and not math.isnan(value):
                        key = getattr(candidate, name)
                        best[key] = max(best.get(key, -math.inf), value)
                points = sorted(best.items())
                label = "+".join(own).replace("none", "as it is")
                axis.plot(*zip(*points, strict=True), label=label, **line_style(index))
            for which, candidate in (
                ("default", tuning.candidates[0]),
                ("chosen", tuning.candidates[tuning.choice.candidate]),
            ):
                dashes = ":" if which == "default" else "-"
                axis.axvline(getattr(candidate, name), color="#5f5f5f", linestyle=dashes, linewidth=0.8)
            axis.set_xlabel(name.replace("_", " "))
        axes[0].set_ylabel(f"{tuning.metric} (%), validation")
        axes[-1].legend(fontsize=SMALL)
        note = f" {tuning.note}" if tuning.note else ""
        figure.suptitle(
            f"Best {tuning.metric} at IoU {tuning.iou_threshold:g} for each value. Dotted: the default; "
            f"line: chosen.{note}",
            fontsize=SMALL,
            x=0.01,
            ha="left",
        )
        data = BytesIO()
        figure.savefig(data, dpi=150)
        return data.getvalue()
