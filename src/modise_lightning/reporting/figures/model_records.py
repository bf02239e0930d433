"""The records of one model's folds, from which curves are computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modise_lightning.errors import UserError
from modise_lightning.metrics.curves.detections import Detections, pool_detections
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, ReadRecords, read_records
from modise_lightning.reporting.cross_validation.models import ModelFolds

# How the folds make one curve: each its own, then their average; or all detections in one ranking.
FoldPooling = Literal["average", "pool"]


@dataclass(frozen=True)
class ModelRecords:
    """One model's records.

    Attributes:
        row: The model in its table.
        by_fold: Records of each fold.
        category_names: Classes.
        isthing: Whether each class's instances are told apart.
    """

    row: ModelFolds
    by_fold: dict[int, EvaluationRecords]
    category_names: list[str]
    isthing: list[bool]

    @classmethod
    def read(cls, row: ModelFolds, read: ReadRecords = read_records) -> ModelRecords:
        """Read the records that the runs of a model wrote.

        Args:
            row: The model in its table.
            read: Reads the records of a folder.

        Raises:
            UserError: A run has none, or they are not of its results.
        """
        by_fold = {}
        for fold, run in row.runs.items():
            folder = row.records_folder(fold)
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: no records, which all figures but threshold_ablation are made from. Evaluate "
                    "the run's checkpoint again, or set figures=[threshold_ablation]."
                )
            by_fold[fold] = read(folder)
            found, expected = len(by_fold[fold].images), run.results[row.model].num_images
            if found != expected:
                raise UserError(
                    f"{folder}: records of {found} images, but the results beside them are of {expected}: "
                    "they are not of one evaluation."
                )
        names = next(iter(row.results.values())).category_names
        return cls(row, by_fold, names, [_isthing(row, by_fold.values(), name) for name in names])

    @property
    def things(self) -> list[tuple[int, str]]:
        """Index and name of the classes whose instances are told apart."""
        named = zip(self.category_names, self.isthing, strict=True)
        return [(label, name) for label, (name, thing) in enumerate(named) if thing]

    def detections(self, *, pooling: FoldPooling, max_detections: int) -> list[Detections]:
        """Give the scored instances of each fold; pooled, of all folds together.

        Args:
            pooling: How the folds make one curve.
            max_detections: Detections of an image and class that count, by score.
        """
        parts = [
            Detections.of(
                records,
                category_names=self.category_names,
                isthing=self.isthing,
                source="instance",
                max_detections=max_detections,
            )
            for _, records in sorted(self.by_fold.items())
        ]
        return [pool_detections(parts)] if pooling == "pool" else parts


def read_models(rows: Sequence[ModelFolds], read: ReadRecords = read_records) -> list[ModelRecords]:
    """Read the records of all models of a table.

    A class whose instances one of them tells apart is one for all: models without instances of a class that
    has no truth do not show it.
    """
    models = [ModelRecords.read(row, read) for row in rows]
    isthing = [any(each) for each in zip(*(model.isthing for model in models), strict=True)]
    return [replace(model, isthing=isthing) for model in models]


def _isthing(row: ModelFolds, records: Iterable[EvaluationRecords], name: str) -> bool:
    """Only things have an average precision (where there is truth) and are predicted as instances."""
    has_precision = any(
        not math.isnan(value)
        for result in row.results.values()
        for value in result.average_precision_by_category[name]
    )
    return has_precision or any(
        ((each.instances["category"] == name) & (each.instances["source"] == "instance")).any()
        for each in records
    )
