"""Keeps an evaluation's results in a file, so that folds can be gathered later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from modise_lightning.reporting.files import write_json_atomically


class Storable(Protocol):
    """A result that knows its JSON form."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON can hold."""
        ...


def write_results(
    path: Path,
    results: Mapping[str, Storable],
    *,
    name: str,
    dataset: Mapping[str, Any],
    split: str,
    fold: int,
) -> None:
    """Write results by model, with what they were measured on.

    Args:
        path: A JSON file.
        results: By model ("trained", "untrained", ...).
        name: The run's name.
        dataset: What the dataset says of itself; its name and whether it is synthetic are kept.
        split: Which images: train, validation, test or all.
        fold: The test fold.
    """
    content = {
        "name": name,
        "dataset": dataset["name"],
        "synthetic": dataset["synthetic"],
        "split": split,
        "fold": fold,
        "results": {model: result.to_dict() for model, result in results.items()},
    }
    write_json_atomically(path, content)
