"""Compares how the runs of a table were measured: score threshold, matching, sizes, precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modise_lightning.errors import UserError
from modise_lightning.reporting.cross_validation.runs import FinishedRun
from modise_lightning.reporting.results import Setting

# These belong to a model, and another model has others: they must agree in the runs of one name.
_OF_A_MODEL = ("backbone.", "clip_head.", "init_fingerprint", "data.normal_share")


def check_measurements(runs: Sequence[FinishedRun], may_differ: Sequence[str]) -> None:
    """Refuse a table of numbers that were measured in different ways.

    Args:
        runs: Of one table, at least one.
        may_differ: Settings that rows may differ in, by their key in the configuration.

    Raises:
        UserError: Names the first setting that differs, and both runs.
    """
    first_of_name: dict[str, FinishedRun] = {}
    for run in runs:
        same_name = first_of_name.setdefault(run.identity.name, run)
        for other in (runs[0], same_name):
            _check_pair(run, other, may_differ if other is not same_name else ())


def _check_pair(run: FinishedRun, other: FinishedRun, may_differ: Sequence[str]) -> None:
    own, expected = _settings(run), _settings(other)
    if bool(run.identity.measurement) != bool(other.identity.measurement):
        older, newer = (run, other) if other.identity.measurement else (other, run)
        raise UserError(
            f"runs: {older.folder} does not say how its numbers were measured (an older version wrote it), "
            f"{newer.folder} does: evaluate the older one's checkpoint again, or give them to two calls."
        )
    for key in sorted(set(own) | set(expected)):
        if key in may_differ or own.get(key) == expected.get(key):
            continue
        if key.startswith(_OF_A_MODEL) and run.identity.name != other.identity.name:
            continue
        raise UserError(
            f"runs: {run.folder} and {other.folder} differ in {key} ({own.get(key)} and "
            f"{expected.get(key)}): their numbers cannot stand in one table; give them to two calls, or "
            f"compare {key} itself with may_differ=[{key}] and a name for each (name=...)."
        )


def measurement_notes(runs: Sequence[FinishedRun]) -> list[str]:
    """Say how the runs of a table were measured, a sentence each.

    Args:
        runs: Of one table, at least one.
    """
    settings = [_settings(run) for run in runs]
    keys = sorted(set().union(*settings))
    shared = [
        f"{key}={_text(settings[0].get(key))}"
        for key in keys
        if all(each.get(key) == settings[0].get(key) for each in settings)
    ]
    notes = [f"Measured with {', '.join(shared)}."]
    if not any(run.identity.measurement for run in runs):
        notes = [
            f"The runs do not say how they were measured, but for {', '.join(shared)}: an older version "
            "wrote them."
        ]
    for key in keys:
        by_name = {run.identity.name: _text(each.get(key)) for run, each in zip(runs, settings, strict=True)}
        if len(set(by_name.values())) > 1:
            each_name = ", ".join(f"{name} {value}" for name, value in sorted(by_name.items()))
            notes.append(f"The models differ in {key}: {each_name}.")
    return notes


def _settings(run: FinishedRun) -> Mapping[str, Setting]:
    return {"metrics.matching": run.identity.matching, **run.identity.measurement}


def _text(value: Setting) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
