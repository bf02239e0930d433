"""Makes the gallery of a model: its test images, each predicted by the checkpoint of its own fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from modise_lightning.metrics.clinical.strata import sort_strata, strata_of_images
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, read_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.cross_validation.models import ModelFolds
from modise_lightning.reporting.cross_validation.runs import FinishedRun, checkpoint_of
from modise_lightning.reporting.html_report.cards import Card, make_card
from modise_lightning.reporting.html_report.image_ranking import choose_ranked, rank_images
from modise_lightning.reporting.html_report.outcomes import ImageOutcome, image_outcomes
from modise_lightning.reporting.html_report.settings import GallerySettings
from modise_lightning.structures import Category


@dataclass(frozen=True)
class PredictionStream:
    """Images with their truth and what a checkpoint says of them, one after another.

    Attributes:
        rows: Image id and image, in the order that was asked for.
        categories: Names and colours of the classes.
        note: What pictures of the dataset have to carry (its attribution); None for nothing.
    """

    rows: Iterator[tuple[int, ComparisonRow]]
    categories: tuple[Category, ...]
    note: str | None


# Predicts images, by id, with the checkpoint of a run.
Predict = Callable[[FinishedRun, Sequence[int]], PredictionStream]


@dataclass(frozen=True)
class Gallery:
    """The test images of a model.

    Attributes:
        label: The model, as in the tables.
        cards: The worst image first.
        num_images: Images of the folds that have a checkpoint, shown or not.
        categories: Names and colours of the classes.
        attribution: What the pictures have to carry; None for nothing.
        notes: What a reader must know, a sentence each.
    """

    label: str
    cards: list[Card]
    num_images: int
    categories: tuple[Category, ...]
    attribution: str | None
    notes: list[str]

    @property
    def strata(self) -> dict[str, list[tuple[int, str]]]:
        """Number and name of each level, by kind; kinds that do not tell the images apart are left out."""
        levels = sort_strata(key for card in self.cards for key in card.outcome.strata)
        telling = {by: own for by, own in levels.items() if len(own) > 1}
        numbers = iter(range(sum(map(len, telling.values()))))
        return {by: [(next(numbers), level) for level in own] for by, own in telling.items()}

    def strata_of(self, card: Card) -> list[int]:
        """Give the numbers of a card's strata."""
        number = {(by, level): index for by, own in self.strata.items() for index, level in own}
        return [number[key] for key in card.outcome.strata if key in number]


def make_gallery(row: ModelFolds, settings: GallerySettings, predict: Predict) -> Gallery:
    """Choose the images of a model, predict them again and draw them.

    Args:
        row: The model with its runs.
        settings: How many images, and how large.
        predict: Runs a checkpoint.

    Raises:
        UserError: Records or a checkpoint are damaged, or the dataset is no longer there.
    """
    names = next(iter(row.results.values())).category_names
    outcomes, notes = _read_outcomes(row, names)
    shown = choose_ranked(rank_images(outcomes), settings.max_images)
    cards: dict[tuple[int, int], Card] = {}
    categories: tuple[Category, ...] = ()
    attribution = None
    for fold in sorted({image.fold for image in shown}):
        own = {image.image_id: image for image in shown if image.fold == fold}
        stream = predict(row.runs[fold], sorted(own))
        categories, attribution = stream.categories, stream.note
        for image_id, predicted in stream.rows:
            cards[fold, image_id] = make_card(
                own[image_id],
                predicted,
                categories,
                names,
                longest_side=settings.longest_side,
                quality=settings.quality,
            )
    if len(shown) < len(outcomes):
        notes.insert(
            0,
            f"{len(outcomes) - len(shown)} of {len(outcomes)} images are left out (gallery.max_images="
            f"{settings.max_images}): of those shown, half are the ones with the lowest IoU and half are "
            "spread evenly over the other ranks.",
        )
    ordered = [cards[image.fold, image.image_id] for image in shown]
    differing = sum(card.differs for card in ordered)
    if differing:
        notes.append(
            f"In {differing} images the segments that are drawn are not exactly those that the evaluation "
            "counted (another device or another version of a library); these cards say so. Counts, IoU and "
            "order are the evaluation's."
        )
    return Gallery(row.label, ordered, len(outcomes), categories, attribution, notes)


def _read_outcomes(row: ModelFolds, names: Sequence[str]) -> tuple[list[ImageOutcome], list[str]]:
    """Read what was found in the images of the folds that can be predicted again, and say which cannot."""
    outcomes: list[ImageOutcome] = []
    notes = []
    for fold, run in sorted(row.runs.items()):
        records = row.records_folder(fold)
        if not checkpoint_of(run).is_file():
            notes.append(f"Fold {fold} is not shown: it has no checkpoint ({checkpoint_of(run)}).")
        elif not records.is_dir():
            notes.append(f"Fold {fold} is not shown: it has no records ({records}).")
        elif run.identity.matching is None:
            notes.append(f"Fold {fold} is not shown: its results do not say how segments were matched.")
        else:
            found = read_records(records)
            of_fold = image_outcomes(
                found,
                fold=fold,
                category_names=names,
                threshold=row.threshold,
                matching=cast(Matching, run.identity.matching),
            )
            strata = _strata(found, row.results[fold])
            outcomes += [replace(image, strata=tuple(strata.get(image.image_id, ()))) for image in of_fold]
    return outcomes, notes


def _strata(records: EvaluationRecords, result: EvaluationResult) -> dict[int, list[tuple[str, str]]]:
    """Give the strata of each image, as the result's were told apart; none without clinical ones."""
    if result.clinical is None or records.clinical is None:
        return {}
    edges = {name: result.clinical.settings[name] for name in ("size_edges_mm", "size_edges_share")}
    return strata_of_images(records, **edges)
