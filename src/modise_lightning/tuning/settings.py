"""The settings of a tuning, and the candidates that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from modise_lightning.errors import UserError
from modise_lightning.inference.inference import Inference
from modise_lightning.inference.views import Flip, ViewSettings

_MOST_CANDIDATES = 2000


@dataclass(frozen=True)
class Candidate:
    """Settings of inference, as in ``conf/inference`` and ``conf/views``.

    Attributes:
        flips: Views of each image.
        score_threshold: In [0, 1).
        overlap_threshold: In [0, 1].
        mask_threshold: In (0, 1).
    """

    flips: tuple[Flip, ...]
    score_threshold: float
    overlap_threshold: float
    mask_threshold: float

    @classmethod
    def of(cls, rules: Inference) -> Candidate:
        """Give what a model does by default."""
        return cls(("none",), rules.score_threshold, rules.overlap_threshold, rules.mask_threshold)

    @property
    def views(self) -> ViewSettings:
        """The views of each image."""
        return ViewSettings(self.flips, [1.0])

    def departure(self, other: Candidate) -> tuple[int, float]:
        """Tell in how many settings two differ, and by how much the thresholds do altogether."""
        mine, theirs = astuple(self), astuple(other)
        apart = sum(abs(own - its) for own, its in zip(mine[1:], theirs[1:], strict=True))
        return sum(own != its for own, its in zip(mine, theirs, strict=True)), apart

    def overlay(self) -> dict[str, Any]:
        """Give them as ``settings=FILE`` of evaluate and predict takes them."""
        values = asdict(self)
        return {
            "inference": {name: value for name, value in values.items() if name != "flips"},
            "views": {"flips": list(self.flips), "scales": [1.0]},
        }


def _some(values: object) -> object:
    return values if isinstance(values, list) else [values]


class Grid(BaseModel):
    """The values of each setting that are tried, all with all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    score_threshold: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=1)]
    overlap_threshold: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    mask_threshold: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1)]
    flips: Annotated[list[list[Flip]], Field(min_length=1)]


class Bootstrap(BaseModel):
    """The intervals."""

    model_config = ConfigDict(extra="forbid", strict=True)

    samples: Annotated[int, Field(ge=1, le=1_000_000)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]


class TuneSettings(BaseModel):
    """What ``tune`` is told; ``conf/tune.yaml`` explains each."""

    model_config = ConfigDict(extra="ignore", strict=True)

    runs: Annotated[list[str], BeforeValidator(_some), Field(min_length=1)]
    output_dir: str
    metric: Literal["PQ", "RQ", "SQ"]
    iou_threshold: Annotated[float, Field(ge=0, lt=1)]
    grid: Grid
    bootstrap: Bootstrap
    device: str
    num_threads: Annotated[int, Field(ge=1)] | None

    @classmethod
    def check(cls, values: Mapping[str, Any], minimum_score: float) -> Self:
        """Check plain values.

        Args:
            values: Of the whole configuration.
            minimum_score: Of the fusion, below which it leaves queries out.

        Raises:
            UserError: Names the first wrong key, what was expected and what was found.
        """
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            first: Any = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{where}: {first['msg']}; found {first['input']!r}.") from error
        grid = settings.grid
        for flips in grid.flips:
            try:
                ViewSettings(flips, [1.0])
            except UserError as error:
                raise UserError(f"grid.{str(error).removeprefix('views.')}") from error
        low = min(grid.score_threshold)
        if low < minimum_score:
            raise UserError(
                f"grid.score_threshold: {low} is below fusion.minimum_score={minimum_score}, which leaves "
                "such queries out; lower that too."
            )
        number = len(settings._combinations())
        if number > _MOST_CANDIDATES:
            raise UserError(
                f"grid: {number} combinations are more than {_MOST_CANDIDATES}; give fewer values."
            )
        return settings

    def candidates(self, default: Candidate) -> list[Candidate]:
        """Give the default and all combinations of the grid, those that depart least from it first."""
        distinct = dict.fromkeys([default, *self._combinations()])
        return sorted(distinct, key=lambda candidate: candidate.departure(default))

    def _combinations(self) -> list[Candidate]:
        grid = self.grid
        return [
            Candidate(tuple(flips), score, overlap, mask)
            for flips, mask, overlap, score in product(
                grid.flips, grid.mask_threshold, grid.overlap_threshold, grid.score_threshold
            )
        ]
