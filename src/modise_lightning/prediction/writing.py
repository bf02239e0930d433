"""Writes predictions behind the computation: files, measurements and the journal, in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modise_lightning.errors import UserError
from modise_lightning.images_to_predict import ImagesToPredict
from modise_lightning.prediction.journal import FinishedImage, PredictionJournal
from modise_lightning.prediction.lesions import Lesion, LesionSettings, find_lesions, measure_lesion
from modise_lightning.prediction.planning import PlannedImage
from modise_lightning.reporting.export import export_prediction
from modise_lightning.structures import Category, Prediction

# Writes further files of an image from its lesions with their measurements; gives them.
Exporter = Callable[[PlannedImage, Path, list[tuple[Lesion, dict[str, Any]]]], list[Path]]


@dataclass(frozen=True)
class WritingSettings:
    """What the files of an image hold.

    Attributes:
        folder: Of the results.
        categories: Names and colours of the classes.
        metadata: Plain values about the model, for the JSON.
        is_synthetic: Whether the model knows only phantoms.
        lesions: Which masks are measured.
        exporters: Write further files.
        keeps_identifiers: Whether messages may say whose image it is.
    """

    folder: Path
    categories: Sequence[Category]
    metadata: Mapping[str, Any]
    is_synthetic: bool
    lesions: LesionSettings
    exporters: Sequence[Exporter]
    keeps_identifiers: bool


class PredictionWriting:
    """Takes batches of predictions and has them written, a few images at a time."""

    def __init__(
        self,
        planned: Sequence[PlannedImage],
        wanted: frozenset[int],
        settings: WritingSettings,
        journal: PredictionJournal,
        *,
        num_threads: int,
        batch_size: int,
        tell: Callable[[int], None],
    ) -> None:
        """Start the threads.

        Args:
            planned: All images.
            wanted: Numbers of those that are not finished; others of a batch are left as they are.
            settings: What is written.
            journal: Remembers what is finished.
            num_threads: That write.
            batch_size: Images that may wait to be written, so that the computation of the next batch need
                not wait for the writing of this one; one more waits.
            tell: Is told each time how many more images are done.
        """
        self._planned = planned
        self._wanted = wanted
        self._settings = settings
        self._journal = journal
        self._tell = tell
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="write-prediction")
        self._places = threading.Semaphore(num_threads + batch_size)
        self._futures: list[Future[None]] = []
        self.failures: dict[int, str] = {}

    def __call__(self, batch: ImagesToPredict, predictions: Sequence[Prediction]) -> None:
        """Take a batch, as soon as there is room for it.

        Raises:
            Exception: What writing an earlier image raised, if it is no mistake of that image.
        """
        for number, reason in batch.unreadable:
            self.failures[number] = self._discreet(number, reason)
            self._tell(1)
        for number, picture, notes, prediction in zip(
            batch.numbers, batch.pictures, batch.notes, predictions, strict=True
        ):
            if number not in self._wanted:
                continue
            self._places.acquire()
            self._collect()
            self._futures.append(
                self._pool.submit(
                    self._write,
                    number,
                    picture.numpy(),
                    [self._discreet(number, note) for note in notes],
                    prediction,
                )
            )

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: What writing an image raised, if it is no mistake of that image.
        """
        self._pool.shutdown(wait=True)
        self._collect()

    def abandon(self) -> None:
        """Write no more; what has begun is finished, and the journal tells what is whole."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _collect(self) -> None:
        done = [future for future in self._futures if future.done()]
        self._futures = [future for future in self._futures if not future.done()]
        for future in done:
            future.result()

    def _discreet(self, number: int, text: str) -> str:
        """Leave out what libraries say of an image if it holds whose image it is."""
        planned = self._planned[number]
        if self._settings.keeps_identifiers or planned.tags is None or not planned.tags.identifies(text):
            return text
        return f"'{planned.task.label}': the reason holds an identifier; identifiers=keep shows it."

    def _write(
        self, number: int, picture: NDArray[np.uint8], notes: list[str], prediction: Prediction
    ) -> None:
        planned = self._planned[number]
        try:
            finished = self._write_files(planned, picture, notes, prediction)
            self._journal.append(finished)
        except UserError as error:
            self.failures[number] = self._discreet(number, str(error))
        finally:
            self._places.release()
            self._tell(1)

    def _write_files(
        self, planned: PlannedImage, picture: NDArray[np.uint8], notes: list[str], prediction: Prediction
    ) -> FinishedImage:
        settings = self._settings
        folder = settings.folder / planned.folder
        if any(not sign.isprintable() for sign in planned.folder):
            raise UserError(f"{planned.task.label}: its folder cannot be the name of one; rename it.")
        files = export_prediction(
            folder,
            planned.stem,
            picture.astype(np.float32) / np.float32(255),
            prediction,
            settings.categories,
            source=planned.task.label,
            metadata=settings.metadata,
            synthetic_training_data=settings.is_synthetic,
            description=_describe(planned),
        )
        lesions = [
            (lesion, measure_lesion(lesion, prediction, settings.categories, planned.spacing_mm))
            for lesion in find_lesions(prediction, settings.categories, settings.lesions)
        ]
        written = files.all
        for export in settings.exporters:
            written += export(planned, folder, lesions)
        return FinishedImage(
            planned.key,
            picture.shape[0],
            picture.shape[1],
            [measured for _, measured in lesions],
            notes,
            {path.relative_to(settings.folder).as_posix(): path.stat().st_size for path in written},
        )


def _describe(planned: PlannedImage) -> dict[str, Any]:
    place, spacing = planned.place, planned.spacing_mm
    described: dict[str, Any] = {"exam": place.exam, "laterality": place.laterality, "view": place.view}
    if spacing is not None:
        described["pixel_spacing_mm"] = [round(side, 6) for side in spacing]
    return described
