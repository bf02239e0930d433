"""Predicts what was uploaded of an exam, and keeps what the page shows of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modise_lightning.errors import UserError
from modise_lightning.prediction.folders.folder import FolderPrediction, Model
from modise_lightning.prediction.folders.preparing import find_images, inspect_images
from modise_lightning.serving.exams import Exam
from modise_lightning.serving.models import ServedModel
from modise_lightning.serving.results import ExamResult, picture_png, prominent, uncertainty_png
from modise_lightning.serving.settings import ServeSettings
from modise_lightning.structures import Category


def predict_exam(
    exam: Exam, served: ServedModel, settings: ServeSettings, vocabulary: Sequence[Category] | None
) -> ExamResult:
    """Predict an exam with the classes that are looked for; the result before is replaced.

    Args:
        exam: With its uploads.
        served: The model.
        settings: Of the page.
        vocabulary: Classes to look for; None for those that the page began with.

    Raises:
        UserError: Nothing can be read, or the classes cannot be named.
    """
    with exam.lock:
        exam.number += 1
        folder = exam.folder / str(exam.number)
        folder.mkdir(mode=0o700)
        try:
            result = _predict(exam.uploads, folder, served, settings, vocabulary)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, UserError):
                raise UserError(_without_folder(str(error), exam.uploads)) from error
            raise
        if exam.result is not None:
            shutil.rmtree(exam.result.folder, ignore_errors=True)
        exam.result = result
        return result


def _predict(
    uploads: Path,
    folder: Path,
    served: ServedModel,
    settings: ServeSettings,
    vocabulary: Sequence[Category] | None,
) -> ExamResult:
    run = settings.run_settings(str(uploads), str(folder / "results"))
    found = find_images(run)
    inputs = inspect_images(found, run, lambda images, number: images)

    def take(batch: Any, predictions: Sequence[Any]) -> None:  # noqa: ANN401 (of the loader)
        for number, picture, prediction in zip(batch.numbers, batch.pictures, predictions, strict=True):
            (folder / f"{number}.png").write_bytes(picture_png(picture.numpy()))
            (folder / f"{number}_uncertainty.png").write_bytes(uncertainty_png(prediction))

    def prepare(model: Model) -> FolderPrediction:
        return FolderPrediction(inputs, run, model)

    model, prediction = served.predict(vocabulary, prepare, take)
    images, failures = prediction.outcome()
    notes = [*prediction.notes, *(note for _, finished in images for note in finished.notes)]
    shown = [
        (planned, replace(finished, lesions=prominent(finished.lesions, settings.lesions.overlap)))
        for planned, finished in images
    ]
    for number, (planned, _) in enumerate(images):
        # Some could not be predicted: pictures are called after the place among those that are.
        for ending in (".png", "_uncertainty.png"):
            (folder / f"{planned.task.number}{ending}").rename(folder / f"shown-{number}{ending}")
    shutil.rmtree(folder / "results", ignore_errors=True)
    return ExamResult(folder, model, shown, [_without_folder(each, uploads) for each in failures], notes)


def _without_folder(text: str, folder: Path) -> str:
    """Leave the temporary folder out of a message."""
    return text.replace(f"{folder}/", "").replace(str(folder), "what was dropped")
