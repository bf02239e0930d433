"""Predicts many images into a folder: leaves out what is finished, and writes the tables at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modise_lightning
from modise_lightning.atomic_files import write_text_atomically
from modise_lightning.console import Console
from modise_lightning.data.loading.prediction import PredictionDataModule
from modise_lightning.data.loading.transforms import EvaluationTransform
from modise_lightning.errors import PartlyDoneError, UserError
from modise_lightning.json_text import parse_json
from modise_lightning.prediction.folders.contact_sheet import write_contact_sheet
from modise_lightning.prediction.folders.gallery import make_cards
from modise_lightning.prediction.folders.preparing import InspectedInputs, plan, unfinished_groups
from modise_lightning.prediction.folders.run_settings import RunSettings
from modise_lightning.prediction.journal import FinishedImage, PredictionJournal
from modise_lightning.prediction.loading import ImagesToLoad, PredictionCollate
from modise_lightning.prediction.tables.files import write_coco, write_csv, write_parquet
from modise_lightning.prediction.tables.rows import (
    Finished,
    breast_columns,
    breast_rows,
    lesion_columns,
    lesion_rows,
)
from modise_lightning.prediction.writing import Exporter, PredictionWriting, WritingSettings
from modise_lightning.reporting.export import SYNTHETIC_NOTICE
from modise_lightning.reporting.html_report.predictions import render_predictions
from modise_lightning.structures import Category
from modise_lightning.visible_text import visible

_MOST_NOTES = 20  # that are shown; the journal has all
FAILURES_NAME = "failures.txt"
_FAILURES = "failures.json"  # of the other processes


@dataclass(frozen=True)
class Model:
    """What of a trained model the prediction of many images needs beside the network.

    Attributes:
        categories: Names and colours of the classes.
        transform: What an image is resized and trimmed with.
        size_multiple: What the resized image is padded to a multiple of, in pixels.
        in_colours: Whether the network sees colours.
        metadata: Plain values for the JSON.
        is_synthetic: Whether it knows only phantoms.
        identity: Plain values that tell it from other models.
    """

    categories: Sequence[Category]
    transform: EvaluationTransform
    size_multiple: int
    in_colours: bool
    metadata: Mapping[str, Any]
    is_synthetic: bool
    identity: Mapping[str, Any]


class FolderPrediction:
    """The prediction of everything that the inputs hold, in this process or in several."""

    def __init__(self, inputs: InspectedInputs, settings: RunSettings, model: Model) -> None:
        """Plan it, and read what an earlier run finished.

        Args:
            inputs: What was looked at.
            settings: Of this command.
            model: What predicts.
        """
        self.process = 0
        self._inputs = inputs
        self._settings = settings
        self._model = model
        identity = {**model.identity, "version": modise_lightning.__version__}
        self._planned, self._notes = plan(inputs, settings, identity)
        finished = self._read_journal()
        self._left = frozenset(
            number for number, planned in enumerate(self._planned) if planned.key not in finished
        )
        done = frozenset(range(len(self._planned))) - self._left
        self.groups = unfinished_groups(self._planned, done, settings.batch_size)
        self._writing: PredictionWriting | None = None

    @property
    def number_left(self) -> int:
        """How many images are not finished."""
        return len(self._left)

    def data(self) -> PredictionDataModule:
        """Give what loads the images that are left, in their batches."""
        tasks = [planned.task for planned in self._planned]
        return PredictionDataModule(
            dataset=ImagesToLoad(
                tasks, self._model.transform, self._settings.archive, in_colours=self._model.in_colours
            ),
            groups=self.groups,
            collate=PredictionCollate(self._model.size_multiple),
            # A process is not worth its start for one image.
            num_workers=self._settings.num_workers if len(self._left) > 1 else 0,
            pin_memory=True,
        )

    @contextmanager
    def writing(self, tell: Callable[[int], None]) -> Iterator[PredictionWriting]:
        """Write what is handed over, until the context is left.

        Args:
            tell: Is told each time how many more images are done.
        """
        settings, model = self._settings, self._model
        written = WritingSettings(
            folder=settings.folder,
            categories=model.categories,
            metadata=model.metadata,
            is_synthetic=model.is_synthetic,
            lesions=settings.lesions,
            exporters=self._exporters(),
            keeps_identifiers=settings.keeps_identifiers,
        )
        writing = PredictionWriting(
            self._planned,
            self._left,
            written,
            PredictionJournal(settings.folder, self.process),
            num_threads=settings.num_writers,
            batch_size=settings.batch_size,
            tell=tell,
        )
        self._writing = writing
        try:
            yield writing
        except BaseException:
            writing.abandon()
            raise
        writing.close()
        if self.process != 0 and writing.failures:
            path = settings.folder / f"{self.process}.{_FAILURES}"
            write_text_atomically(path, json.dumps(sorted(writing.failures.items())))

    def _exporters(self) -> list[Exporter]:
        settings = self._settings
        if not settings.dicom_kinds:
            return []
        # highdicom is there only where somebody wants it.
        from modise_lightning.prediction.dicom_results.codes import ClassCode
        from modise_lightning.prediction.dicom_results.exporting import DicomExporter

        known = [ClassCode(**code) for code in settings.class_codes]
        return [DicomExporter(settings.dicom_kinds, self._model.metadata, known, settings.archive)]

    def finish(self) -> list[Path]:
        """Write the tables, and tell what was done.

        Returns:
            The JSON files of the images, in their order; of other processes than the first, none.

        Raises:
            UserError: The only image could not be predicted.
            PartlyDoneError: Some images could not be predicted; the others are done.
        """
        if self.process != 0:
            return []
        folder = self._settings.folder
        images, failures = self.outcome()
        if len(images) + len(failures) == 1 and failures:
            raise UserError(failures[0])
        self._write_tables(images)
        PredictionJournal(folder).replace_all([own for _, own in images])
        (folder / FAILURES_NAME).unlink(missing_ok=True)
        if failures:  # The error's one line has no room for many.
            write_text_atomically(folder / FAILURES_NAME, "".join(f"{visible(line)}\n" for line in failures))
        self._tell(images)
        if failures:
            raise PartlyDoneError(
                f"{len(failures)} of {self._inputs.number} images could not be predicted: "
                + "; ".join(failures)
            )
        return [folder / planned.folder / f"{planned.stem}.json" for planned, _ in images]

    def outcome(self) -> tuple[list[Finished], list[str]]:
        """Give the images that are predicted, in their order, and why others are not, a line each."""
        finished = self._read_journal()
        images = [(planned, finished[planned.key]) for planned in self._planned if planned.key in finished]
        positions = self._inputs.positions
        told = [(positions[number], reason) for number, reason in self._failures()]
        return images, [reason for _, reason in sorted([*self._inputs.failures, *told])]

    @property
    def notes(self) -> list[str]:
        """What is to be told of the plan."""
        return list(self._notes)

    def _read_journal(self) -> dict[str, FinishedImage]:
        folder = self._settings.folder
        found = PredictionJournal(folder).read(planned.key for planned in self._planned)
        return {key: finished for key, finished in found.items() if finished.is_complete(folder)}

    def _failures(self) -> list[tuple[int, str]]:
        """Give the numbers of the images that failed in any process, and why."""
        found = {} if self._writing is None else dict(self._writing.failures)
        for path in sorted(self._settings.folder.glob(f"*.{_FAILURES}")):
            found.update({int(number): str(reason) for number, reason in parse_json(path.read_bytes())})
            path.unlink()
        return list(found.items())

    def _write_tables(self, images: list[Finished]) -> None:
        folder, settings, model = self._settings.folder, self._settings, self._model
        keeps = settings.keeps_identifiers
        classes = [category.name for category in model.categories if category.isthing]
        tables: dict[str, tuple[list[str], list[dict[str, Any]]]] = {
            "predictions": (lesion_columns(keeps), list(lesion_rows(images, keeps))),
            "exams": (breast_columns(classes, keeps), breast_rows(images, classes, keeps)),
        }
        for name, (columns, rows) in tables.items():
            write_csv(folder / f"{name}.csv", columns, rows)
            if "parquet" in settings.export:
                write_parquet(folder / f"{name}.parquet", columns, rows)
        notice = SYNTHETIC_NOTICE if model.is_synthetic else None
        if "coco" in settings.export:
            information = {"description": "predictions", **model.metadata}
            write_coco(
                folder / "coco.json",
                images,
                model.categories,
                information if notice is None else {**information, "notice": notice},
            )
        if "contact_sheet" in settings.export:
            write_contact_sheet(
                folder,
                images,
                model.categories,
                notice,
                most=settings.contact_sheet_images,
                limits=settings.archive,
            )
        if "gallery" in settings.export and images:
            cards = make_cards(
                images, model.categories, most=settings.gallery_images, limits=settings.archive
            )
            name = str(model.metadata["model"])
            page = render_predictions(cards, model.categories, number=len(images), model=name, notice=notice)
            write_text_atomically(folder / "gallery.html", page)

    def _tell(self, images: Sequence[Finished]) -> None:
        console = Console(stderr=True)
        notes = self._notes + [note for _, finished in images for note in finished.notes]
        for note in notes[:_MOST_NOTES]:
            console.print(f"warning: {note}", highlight=False, soft_wrap=True)
        if len(notes) > _MOST_NOTES:
            console.print(f"warning: {len(notes) - _MOST_NOTES} more, in predictions.jsonl", highlight=False)
        before = len(self._planned) - len(self._left)
        kept = f" ({before} of them before)" if before else ""
        Console().print(
            f"{len(images)} of {self._inputs.number} images predicted{kept}; everything: "
            f"{self._settings.folder}",
            highlight=False,
            soft_wrap=True,
        )
