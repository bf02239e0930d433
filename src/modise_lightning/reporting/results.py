"""Keeps an evaluation's results in a file, so that folds can be gathered later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.json_text import parse_json
from modise_lightning.regular_files import check_regular
from modise_lightning.reporting.files import write_json_atomically

T = TypeVar("T")
Setting = bool | int | float | str | None


class Storable(Protocol):
    """A result that knows its JSON form."""

    def to_dict(self) -> dict[str, Any]:
        """Give everything as values that JSON can hold."""
        ...


@dataclass(frozen=True)
class RunIdentity:
    """What was evaluated on what: which results belong together, and which may not be mixed.

    Attributes:
        name: The run's name.
        experiment: Which of the paper's models it is; None for another one.
        random_parts: Parts that the paper takes pretrained and that had random weights.
        matching: How segments were matched below an IoU of 0.5; None where it is not known.
        dataset: The dataset's name.
        synthetic: Whether its images are.
        dataset_digest: Of the dataset's description and folds; None where it is not known.
        num_dataset_images: Number of images of the whole dataset; None where it is not known.
        num_normal_images: Number of those that the dataset's source calls free of findings, whether they
            took part or not; None where it is not known.
        num_folds: Number of folds of the dataset; None where it is not known.
        data_split: ``folds``, or ``official``: every fold's test images are the same.
        split: Which images were evaluated: train, validation, test or all.
        fold: The test fold.
        measurement: Other settings that change a number, by their key in the configuration; empty where they
            are not known.
        unseen_categories: Classes of which training had no text.
    """

    name: str
    dataset: str
    synthetic: bool
    split: str
    fold: int
    experiment: str | None = None
    random_parts: tuple[str, ...] = ()
    matching: str | None = None
    dataset_digest: str | None = None
    num_dataset_images: int | None = None
    num_normal_images: int | None = None
    num_folds: int | None = None
    data_split: str = "folds"
    measurement: Mapping[str, Setting] = field(default_factory=dict)
    unseen_categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredResults(Generic[T]):
    """Results by model, with what they were measured on.

    Attributes:
        run: What was evaluated on what.
        results: By model ("trained", "untrained", ...).
    """

    run: RunIdentity
    results: dict[str, T]


class _Content(BaseModel):
    """What the file must hold."""

    model_config = ConfigDict(strict=True)

    name: str
    dataset: str
    synthetic: bool
    split: str
    fold: NonNegativeInt
    experiment: str | None = None
    random_parts: list[str] = []
    matching: str | None = None
    dataset_digest: str | None = None
    num_dataset_images: PositiveInt | None = None
    num_normal_images: NonNegativeInt | None = None
    num_folds: PositiveInt | None = None
    data_split: str = "folds"
    measurement: dict[str, Setting] = {}
    unseen_categories: list[str] = []
    results: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


def write_results(path: Path, results: Mapping[str, Storable], run: RunIdentity) -> None:
    """Write results by model, with what they were measured on.

    Args:
        path: A JSON file.
        results: By model ("trained", "untrained", ...).
        run: What was evaluated on what.
    """
    by_model = {model: result.to_dict() for model, result in results.items()}
    write_json_atomically(path, {**asdict(run), "results": by_model})


def read_results(path: Path, result_type: type[T]) -> StoredResults[T]:
    """Read what ``write_results`` wrote; null becomes NaN again.

    Args:
        path: A JSON file.
        result_type: The dataclass of a model's result (``metrics.evaluation.EvaluationResult``).

    Raises:
        UserError: The file is missing or is not one of results; names the first entry that is wrong.
    """
    try:
        content = _Content.model_validate(parse_json(check_regular(path).read_bytes()))
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
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); give a run's results.json.") from error
    about = content.model_dump(exclude={"results"})
    about["random_parts"] = tuple(content.random_parts)
    about["unseen_categories"] = tuple(content.unseen_categories)
    return StoredResults(RunIdentity(**about), results)


def _none_to_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _none_to_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_none_to_nan(item) for item in value]
    return math.nan if value is None else value
