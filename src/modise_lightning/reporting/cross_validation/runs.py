"""Finds the runs of a cross-validation in folders: those with results, and those that left none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]

from modise_lightning.errors import UserError
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.regular_files import check_regular
from modise_lightning.reporting.result_check import check_result
from modise_lightning.reporting.results import RunIdentity, read_results

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class FinishedRun:
    """A run with results.

    Attributes:
        folder: Where it wrote them.
        identity: What was evaluated on what.
        results: By model ("trained", "untrained", ...).
    """

    folder: Path
    identity: RunIdentity
    results: dict[str, EvaluationResult]


@dataclass(frozen=True)
class UnfinishedRun:
    """A training run without results: it crashed, was stopped, or is still running.

    Attributes:
        folder: Its folder.
        name: The run's name.
        dataset: The dataset's name.
        fold: The test fold; None if its configuration does not say.
    """

    folder: Path
    name: str
    dataset: str
    fold: int | None


@dataclass(frozen=True)
class FoundRuns:
    """What folders hold.

    Attributes:
        finished: Test results, at most one of each name, fold and dataset.
        unfinished: Training runs without results.
        notes: What was left out, a sentence each.
    """

    finished: list[FinishedRun]
    unfinished: list[UnfinishedRun]
    notes: list[str]


def find_runs(
    folders: Sequence[Path], same_fold: Literal["error", "latest"], transfers: bool = False
) -> FoundRuns:
    """Search folders, whatever their depth (a run, a multirun, many of them).

    Args:
        folders: Where to search.
        same_fold: What to do where two runs of one name have the same test fold of the same dataset: refuse,
            or take the one whose results were written last.
        transfers: Whether models that were trained on another dataset are told apart, and may be tested on
            any of the images: none of them was trained on.

    Raises:
        UserError: A folder is missing or holds no run, results cannot be read, or two runs have one fold.
    """
    finished: dict[Path, FinishedRun] = {}
    unfinished: dict[Path, UnfinishedRun] = {}
    notes: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"runs: no folder '{folder}'; give a run's folder or one that holds runs.")
        for path in sorted(folder.rglob(RESULTS_FILE)):
            stored = read_results(path, EvaluationResult)
            for model, result in stored.results.items():
                try:
                    check_result(result)
                except ValueError as error:
                    raise UserError(f"{path}: results.{model}.{error}; give a run's results.json.") from error
            if stored.run.split == "test" or (transfers and is_foreign(stored.run)):
                finished[path.parent.resolve()] = FinishedRun(path.parent, stored.run, stored.results)
            else:
                notes.append(f"Left out: {path} is of the {stored.run.split} images, not of a test fold.")
        for config in sorted(folder.rglob(".hydra/config.yaml")):
            run = config.parents[1]
            if not (run / RESULTS_FILE).exists():
                found = _read_unfinished(run)
                if found is not None:
                    unfinished[run.resolve()] = found
    if not finished:
        raise UserError(
            f"runs: {', '.join(map(str, folders))} holds no run with a {RESULTS_FILE} of a test fold"
            + (f", but {len(unfinished)} unfinished ones." if unfinished else ".")
        )
    kept, replaced = _one_a_fold(list(finished.values()), same_fold, transfers)
    return FoundRuns(kept, list(unfinished.values()), notes + replaced)


def checkpoint_of(run: FinishedRun) -> Path:
    """Give the checkpoint that a training run's results are of; it may be missing."""
    return run.folder / "checkpoints" / "best.ckpt"


def trained_on(identity: RunIdentity) -> tuple[str, ...]:
    """Name the datasets that a model was trained on: those of joint data one by one."""
    sources = identity.measurement.get("trained_on_sources")
    if sources is not None:
        return tuple(str(sources).split(", "))
    return (str(identity.measurement.get("trained_on", identity.dataset)),)


def is_foreign(identity: RunIdentity) -> bool:
    """Tell whether a model was trained on none of the datasets that it was tested on."""
    tested = str(identity.measurement.get("data.sources", identity.dataset)).split(", ")
    return set(tested).isdisjoint(trained_on(identity))


def dataset_key(identity: RunIdentity) -> tuple[str, str | None, str]:
    """Give what two runs must share to be of one cross-validation: the dataset and how it is split."""
    return identity.dataset, identity.dataset_digest, identity.data_split


def _one_a_fold(
    runs: list[FinishedRun], same_fold: Literal["error", "latest"], transfers: bool
) -> tuple[list[FinishedRun], list[str]]:
    by_fold: dict[tuple[Any, ...], list[FinishedRun]] = defaultdict(list)
    for run in runs:
        origin = trained_on(run.identity) if transfers else ()
        key = (*dataset_key(run.identity), run.identity.name, run.identity.fold, origin)
        by_fold[key].append(run)
    kept, notes = [], []
    for same in by_fold.values():
        latest_first = sorted(
            same, key=lambda run: (run.folder / RESULTS_FILE).stat().st_mtime_ns, reverse=True
        )
        if len(same) > 1:
            what = f"fold {same[0].identity.fold} of {same[0].identity.name} on {same[0].identity.dataset}"
            where = ", ".join(str(run.folder) for run in latest_first)
            if same_fold == "error":
                raise UserError(
                    f"runs: {what} was run {len(same)} times: {where}. Give the folders of one "
                    "cross-validation, give runs with other settings another name (name=...), or set "
                    "same_fold=latest."
                )
            notes.append(f"Of {what} the latest of {len(same)} runs is taken, {latest_first[0].folder}.")
        kept.append(latest_first[0])
    return kept, notes


def _read_unfinished(run: Path) -> UnfinishedRun | None:
    """Read what a run was to be from the configuration that Hydra keeps; None unless it was a training."""
    config, hydra = (_read_yaml(run / ".hydra" / name) for name in ("config.yaml", "hydra.yaml"))
    hydra = hydra.get("hydra", {})
    if _look_up(hydra, "job.config_name") != "train":
        return None
    fold = _look_up(config, "fold")
    return UnfinishedRun(
        folder=run,
        name=_resolve(str(_look_up(config, "name")), config, hydra),
        dataset=_resolve(str(_look_up(config, "data.name")), config, hydra),
        fold=fold if isinstance(fold, int) else None,
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(check_regular(path).read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove the run's folder or repair it.") from error
    return content if isinstance(content, dict) else {}


def _look_up(node: object, key: str) -> object:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _resolve(value: str, config: Mapping[str, Any], hydra: Mapping[str, Any]) -> str:
    """Fill in ``${key}`` and ``${hydra:key}``, which the kept configuration does not have resolved."""

    def replacement(match: re.Match[str]) -> str:
        return str(_look_up(hydra if match[1] else config, match[2]))

    return re.sub(r"\$\{(hydra:)?([\w.]+)\}", replacement, value)
