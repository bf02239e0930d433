"""Keeps an evaluation's results in a file, so that folds can be gathered later."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.reporting.files import write_json_atomically

T = TypeVar("T")


class Storable(Protocol):
    """A result that knows its JSON form."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON can hold."""
        ...


@dataclass(frozen=True)
class StoredResults(Generic[T]):
    """Results by model, with what they were measured on.

    Attributes:
        name: The run's name.
        dataset: Its name.
        synthetic: Whether its images are.
        split: Which images: train, validation, test or all.
        fold: The test fold.
        results: By model ("trained", "untrained", ...).
    """

    name: str
    dataset: str
    synthetic: bool
    split: str
    fold: int
    results: dict[str, T]


class _Content(BaseModel):
    """What the file must hold."""

    model_config = ConfigDict(strict=True)

    name: str
    dataset: str
    synthetic: bool
    split: str
    fold: int
    results: dict[str, dict[str, Any]]


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


def read_results(path: Path, result_type: type[T]) -> StoredResults[T]:
    """Read what ``write_results`` wrote; null becomes NaN again.

    Args:
        path: A JSON file.
        result_type: The dataclass of a model's result (``metrics.evaluation.EvaluationResult``).

    Raises:
        UserError: The file is missing or is not one of results; names the first entry that is wrong.
    """
    try:
        content = _Content.model_validate(json.loads(path.read_bytes()))
        results = {
            model: TypeAdapter(result_type).validate_python(_none_to_nan(result))
            for model, result in content.results.items()
        }
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a run's results.json.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg']}; give a run's results.json.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); give a run's results.json.") from error
    return StoredResults(
        content.name, content.dataset, content.synthetic, content.split, content.fold, results
    )


def _none_to_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _none_to_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(item) for item in value]
    return math.nan if value is None else value
