"""Writes phantom patients to disk, in this process or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modise_lightning.data.preparation.parallel import start_processes
from modise_lightning.data.prepared.writing import PreparedEntry, write_entry
from modise_lightning.data.sources.phantom.generator import generate_patient
from modise_lightning.data.sources.phantom.lesions import LESION_KINDS, LesionStatistics
from modise_lightning.structures import ImageRecord

NO_LESION = "no lesion"
_IMAGES_PER_PATIENT = 4


@dataclass(frozen=True)
class PatientTask:
    """What a worker needs to write one patient."""

    folder: Path
    number: int
    seed: np.random.SeedSequence
    class_indices: dict[str, int]
    image_size: int
    both_breasts_probability: float
    statistics: LesionStatistics
    mark_normals: bool  # whether the index says which images show no lesion


@dataclass(frozen=True)
class WrittenImage:
    """What a worker says of one image."""

    entry: PreparedEntry
    number: int  # of the patient
    patient_id: str
    stratum: str


def write_patient(task: PatientTask) -> list[WrittenImage]:
    """Generate and write one patient.

    Args:
        task: Which patient, and where to.

    Returns:
        The patient's images in order.
    """
    patient_id = f"phantom_{task.number:04d}"
    images = generate_patient(task.seed, task.image_size, task.both_breasts_probability, task.statistics)
    written = []
    for position, image in enumerate(images):
        record = ImageRecord(
            image_id=_IMAGES_PER_PATIENT * task.number + position + 1,
            file_name=f"{patient_id}_{image.laterality}_{image.view}.png",
            patient_id=patient_id,
            height=task.image_size,
            width=task.image_size,
        )
        entry = write_entry(
            task.folder,
            record,
            image.pixels,
            image.segment_ids,
            [task.class_indices[kind] for kind in image.kinds],
            {
                "laterality": image.laterality,
                "view": image.view,
                "density": image.density,
                **({"normal": 1} if task.mark_normals and not image.kinds else {}),
            },
        )
        # The rarest thing that an image shows decides where it is needed.
        stratum = next((kind for kind in reversed(LESION_KINDS) if kind in image.kinds), NO_LESION)
        written.append(WrittenImage(entry, task.number, patient_id, stratum))
    return written


@contextmanager
def write_patients(
    tasks: Sequence[PatientTask], num_processes: int
) -> Iterator[Iterator[list[WrittenImage]]]:
    """Write patients in order, here or in worker processes.

    Args:
        tasks: The patients.
        num_processes: Number of worker processes; 1 works in this process.

    Yields:
        Their images, one list a patient.
    """
    if num_processes == 1:
        yield map(write_patient, tasks)
        return
    with start_processes(min(num_processes, len(tasks))) as executor:
        try:
            yield executor.map(write_patient, tasks)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
