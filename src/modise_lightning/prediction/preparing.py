"""From what a user names to a plan of which images are predicted, and which of them are finished."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modise_lightning.data.loading.prediction import telling_loader
from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.finding import FoundImages, InputImage, find_inputs
from modise_lightning.prediction.inputs.inspection import ImagesToInspect, InspectedImage
from modise_lightning.prediction.planning import PlannedImage, plan_images
from modise_lightning.prediction.run_settings import RunSettings


@dataclass(frozen=True)
class InspectedInputs:
    """What was found and looked at.

    Attributes:
        number: Of files that are or should be images.
        images: Those that can be read so far.
        positions: Of each of them among all.
        failures: The positions of the others, and why they cannot be read.
    """

    number: int
    images: list[InspectedImage]
    positions: list[int]
    failures: list[tuple[int, str]]


def find_images(settings: RunSettings) -> FoundImages:
    """Find the images that the settings name.

    Raises:
        UserError: There is nothing to read.
    """
    return find_inputs(
        settings.inputs, recursive=settings.recursive, limits=settings.archive, leave_out=settings.folder
    )


def inspect_images(
    found: FoundImages, settings: RunSettings, track: Callable[[Any, int], Any]
) -> InspectedInputs:
    """Look at each image, in several processes.

    Args:
        found: Where they are.
        settings: How they are read, and which part of the exams is taken.
        track: Shows the progress of an iterable of so many.

    Raises:
        UserError: The only file cannot be read.
    """
    # It logs values and whole tracebacks of files whose problems are told in a line of their own.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    failures: list[tuple[int, str]] = []
    inspected: list[tuple[int, InspectedImage]] = []
    for position, each in enumerate(track(_inspect(found.images, settings), len(found.images))):
        if isinstance(each, str):
            failures.append((position, each))
        elif each.tags is None and settings.dicom_kinds:
            failures.append((position, _no_dicom(each, settings)))
        else:
            inspected.append((position, each))
    failures += [(len(found.images) + number, reason) for number, reason in enumerate(found.refused)]
    number = len(found.images) + len(found.refused)
    if number == 1 and failures:
        raise UserError(failures[0][1])
    if settings.shards > 1:
        exams = list(dict.fromkeys(settings.names.place(each).exam for _, each in inspected))
        own = set(exams[settings.shard :: settings.shards])
        inspected = [pair for pair in inspected if settings.names.place(pair[1]).exam in own]
        # What cannot be read is of no exam; the first part tells it.
        failures = failures if settings.shard == 0 else []
        number = len(inspected) + len(failures)
    positions = [position for position, _ in inspected]
    return InspectedInputs(number, [each for _, each in inspected], positions, failures)


def _no_dicom(inspected: InspectedImage, settings: RunSettings) -> str:
    kinds = " and ".join(settings.dicom_kinds)
    return (
        f"'{inspected.image}' is no DICOM, of whose patient and study {kinds} would be; leave {kinds} out of "
        "export, or predict it apart."
    )


def _inspect(images: list[InputImage], settings: RunSettings) -> Any:  # noqa: ANN401 (a loader)
    dataset = ImagesToInspect(images, settings.archive)
    # A process is not worth its start for a few files.
    num_workers = settings.num_workers if len(images) > 1 else 0
    return telling_loader(dataset, num_workers=num_workers, batch_size=None)


def plan(
    inputs: InspectedInputs, settings: RunSettings, model: Mapping[str, Any]
) -> tuple[list[PlannedImage], list[str]]:
    """Plan the prediction of the images that can be read.

    Args:
        inputs: What was looked at.
        settings: Of this command.
        model: Plain values that tell the model from others.

    Returns:
        The plan, and what is to be told of it.
    """
    return plan_images(
        inputs.images,
        names=settings.names,
        white=settings.white,
        for_processing=settings.for_processing,
        frame=settings.frame,
        keeps_identifiers=settings.keeps_identifiers,
        settings={
            "model": dict(model),
            "dicom": [settings.dicom_kinds, settings.class_codes if settings.dicom_kinds else []],
            "lesions": asdict(settings.lesions),
        },
    )


def unfinished_groups(
    planned: Sequence[PlannedImage], finished: frozenset[int], batch_size: int
) -> list[list[int]]:
    """Divide the images into batches, and leave out those of which all are finished.

    The last digits of a result depend on what else is in its batch, so the batches are those of the whole
    list, whichever of it is finished.
    """
    groups = [
        list(range(start, min(start + batch_size, len(planned))))
        for start in range(0, len(planned), batch_size)
    ]
    return [group for group in groups if not finished.issuperset(group)]
