"""Checks the settings of what gathers the runs of cross-validations: tables, and what is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError


class ComparisonSettings(BaseModel):
    """How models are compared, see ``compare_models``; each value is explained in ``conf/comparison``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reference: str | None
    bootstrap_samples: Annotated[int, Field(ge=0, le=1_000_000)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]


class RunSettings(BaseModel):
    """Which runs are gathered, and how; each value is explained in ``conf/gathering``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    runs: Annotated[
        list[str],
        Field(min_length=1),
        BeforeValidator(lambda runs: runs if isinstance(runs, list) else [runs]),
    ]
    output_dir: str
    models: Annotated[list[str], Field(min_length=1)]
    threshold: Annotated[float, Field(ge=0, lt=1)] | Literal["common", "each"]
    threshold_limit: Annotated[float, Field(ge=0, lt=1)]
    same_fold: Literal["error", "latest"]
    num_folds: Annotated[int, Field(ge=1)]
    may_differ: list[str]

    @classmethod
    def check(cls, values: object) -> Self:
        """Check plain values.

        Raises:
            UserError: Names the first wrong key, what was expected and what was found.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first: Any = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{where}: {first['msg']}; found {first['input']!r}.") from error


class TableSettings(RunSettings):
    """What ``conf/tables.yaml`` composes."""

    per_class: bool
    cross_dataset: bool = False
    comparison: ComparisonSettings
