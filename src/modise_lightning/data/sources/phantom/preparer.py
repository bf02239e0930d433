"""Writes a phantom data set to disk in the prepared layout, once."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from modise_lightning.atomic_files import remove_unfinished_writes
from modise_lightning.console import Console
from modise_lightning.data.preparation.folds import assign_folds, assign_normals
from modise_lightning.data.preparation.report import PreparationReport, write_report
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.index import read_index
from modise_lightning.data.prepared.writing import INDEX_NAME, Normals, write_index
from modise_lightning.data.sources.phantom.checks import check_range, checked_interval, checked_probabilities
from modise_lightning.data.sources.phantom.lesions import LESION_KINDS, LesionStatistics
from modise_lightning.data.sources.phantom.writing import PatientTask, WrittenImage, write_patients
from modise_lightning.errors import UserError
from modise_lightning.json_text import parse_json
from modise_lightning.regular_files import check_regular
from modise_lightning.structures import Category

# Raise it whenever the generator's output changes, so that a data set of an older one is noticed.
GENERATOR_VERSION = 1


class PhantomPreparer:
    """Generates the phantom: synthetic mammograms that need no download and show no real patient."""

    def __init__(
        self,
        *,
        root: str,
        categories: Sequence[dict[str, Any]],
        num_patients: int,
        image_size: int,
        seed: int,
        num_folds: int,
        num_processes: int,
        both_breasts_probability: float,
        lesion_count_probabilities: Sequence[float],
        lesion_kind_probabilities: Sequence[float],
        mass_diameter: Sequence[float],
        cluster_diameter: Sequence[float],
        benign_contrast: Sequence[float],
        malignant_contrast: Sequence[float],
        calcification_contrast: Sequence[float],
        normals: Normals,
        num_normal_patients: int,
    ) -> None:
        """Check the parameters; nothing is written yet.

        Args:
            root: Folder of the prepared data set; it must not exist, be empty, or hold this very phantom.
            categories: The categories, named as in `LESION_KINDS`, in any order.
            num_patients: Number of patients, 1 to 9999; a patient has two or four images.
            image_size: Image side in pixels, 64 to 4096.
            seed: Equal seeds and parameters give equal bytes.
            num_folds: Number of cross-validation folds.
            num_processes: Number of worker processes; 1 works in this process. It does not change the result.
            both_breasts_probability: Probability in [0, 1] that a patient has images of both breasts.
            lesion_count_probabilities: Probability of 0, 1, 2, ... lesions in a breast.
            lesion_kind_probabilities: Probability of each of `LESION_KINDS`, in that order.
            mass_diameter: Smallest and largest diameter of a mass, as a fraction of the image side.
            cluster_diameter: Smallest and largest diameter of a calcification cluster, likewise.
            benign_contrast: Smallest and largest brightness that a benign mass adds at its centre (of 1).
            malignant_contrast: The same of a malignant mass.
            calcification_contrast: Smallest and largest brightness that a calcification adds at its centre.
            normals: With anything but ``none`` there are patients without any lesion behind the others, and
                the index marks each image without a lesion as normal.
            num_normal_patients: Number of those patients.

        Raises:
            UserError: If a value is out of its range.
        """
        self._root = Path(root)
        self._categories: tuple[Category, ...] = categories_from_config(categories)
        self._num_patients = num_patients
        self._image_size = image_size
        self._seed = seed
        self._num_folds = num_folds
        self._num_processes = num_processes
        self._both_breasts_probability = both_breasts_probability
        check_range("num_patients", num_patients, 1, 9999)
        check_range("num_normal_patients", num_normal_patients, 0, 9999 - num_patients)
        self._with_normals = normals != "none"
        self._num_normal_patients = num_normal_patients if self._with_normals else 0
        check_range("image_size", image_size, 64, 4096)
        check_range("seed", seed, 0, 2**63 - 1)
        check_range("num_processes", num_processes, 1, 256)
        check_range("both_breasts_probability", both_breasts_probability, 0, 1)
        names = [category.name for category in self._categories]
        if sorted(names) != sorted(LESION_KINDS):
            raise UserError(
                f"The phantom's categories must be {list(LESION_KINDS)}, but data.categories has {names}."
            )
        self._statistics = LesionStatistics(
            count_probabilities=checked_probabilities(
                "lesion_count_probabilities", lesion_count_probabilities, None
            ),
            kind_probabilities=checked_probabilities(
                "lesion_kind_probabilities", lesion_kind_probabilities, len(names)
            ),
            mass_diameter=checked_interval("mass_diameter", mass_diameter, 0.02, 0.3),
            cluster_diameter=checked_interval("cluster_diameter", cluster_diameter, 0.02, 0.3),
            benign_contrast=checked_interval("benign_contrast", benign_contrast, 0, 1),
            malignant_contrast=checked_interval("malignant_contrast", malignant_contrast, 0, 1),
            calcification_contrast=checked_interval("calcification_contrast", calcification_contrast, 0, 1),
        )

    def prepare(self) -> PreparationReport:
        """Generate the data set, unless it is there.

        Returns:
            What the data set holds.

        Raises:
            UserError: If the folder holds something else, or a phantom with other parameters.
        """
        index = self._root / INDEX_NAME
        if index.is_file():
            self._check_same_parameters(index)
        elif self._root.exists() and (not self._root.is_dir() or any(self._root.iterdir())):
            raise UserError(
                f"{self._root} exists and is no prepared data set (it has no panoptic.json): "
                f"choose another folder with data.root=..., or delete it."
            )
        else:
            self._generate()
        return self._report(self._root)

    def _parameters(self) -> dict[str, object]:
        """Everything that the bytes of the data set depend on, as JSON gives it back.

        Returns:
            The parameters.
        """
        parameters = {
            "generator_version": GENERATOR_VERSION,
            "categories": [category.name for category in self._categories],
            "num_patients": self._num_patients,
            "image_size": self._image_size,
            "seed": self._seed,
            "num_folds": self._num_folds,
            "both_breasts_probability": self._both_breasts_probability,
            **asdict(self._statistics),
        }
        if self._with_normals:
            parameters["num_normal_patients"] = self._num_normal_patients
        restored: dict[str, object] = json.loads(json.dumps(parameters))
        return restored

    def _check_same_parameters(self, index: Path) -> None:
        """Refuse to pass off another data set as this one.

        Args:
            index: The existing data set's panoptic.json.

        Raises:
            UserError: If it is not this phantom.
        """
        try:
            document = parse_json(check_regular(index).read_bytes())
            found = document["info"].get("parameters")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{index} cannot be read as a prepared data set ({error}): "
                f"choose another folder with data.root=..., or delete {self._root}."
            ) from error
        wanted = self._parameters()
        if found == wanted:
            return
        if not isinstance(found, dict):
            raise UserError(
                f"{self._root} holds another data set, no phantom: choose another folder with data.root=..."
            )
        differences = ", ".join(
            f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"
            for key in sorted(found.keys() | wanted.keys())
            if found.get(key) != wanted.get(key)
        )
        raise UserError(
            f"{self._root} holds a phantom with other parameters ({differences}): "
            f"choose another folder with data.root=..., or delete {self._root} to generate it anew."
        )

    def _generate(self) -> None:
        """Generate everything beside the final folder, then move it there, so that it is whole or absent."""
        self._root.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._root.with_name(f"{self._root.name}.unfinished")
        remove_unfinished_writes(unfinished)
        with tempfile.TemporaryDirectory(dir=self._root.parent, prefix=f".{unfinished.name}.") as scratch:
            folder = Path(scratch) / self._root.name
            folder.mkdir()
            tasks = self._tasks(folder)
            written: list[WrittenImage] = []
            with write_patients(tasks, self._num_processes) as results:
                console = Console(stderr=True)
                for images in track(
                    results, "Generating phantom patients", len(tasks), console=console, transient=True
                ):
                    written.extend(images)
            folds = self._folds(written)
            info = {
                "name": "phantom",
                "synthetic": True,
                "description": "Synthetic phantom mammograms made by a random generator; not real patients.",
                "license": "CC0-1.0",
                "parameters": self._parameters(),
            }
            if self._with_normals:
                info["normal_images"] = sum(image.entry.is_normal for image in written)
            write_index(folder, info, self._categories, [image.entry for image in written], folds, self._seed)
            write_report(self._report(folder), folder)
            folder.replace(self._root)

    def _tasks(self, folder: Path) -> list[PatientTask]:
        """Give each patient a seed of its own; those without lesions come last and change no other."""
        seeds = np.random.SeedSequence(self._seed).spawn(self._num_patients + self._num_normal_patients)
        class_indices = {category.name: index for index, category in enumerate(self._categories)}
        without_lesions = replace(self._statistics, count_probabilities=(1.0,))
        return [
            PatientTask(
                folder,
                number,
                seed,
                class_indices,
                self._image_size,
                self._both_breasts_probability,
                self._statistics if number < self._num_patients else without_lesions,
                self._with_normals,
            )
            for number, seed in enumerate(seeds)
        ]

    def _folds(self, written: Sequence[WrittenImage]) -> list[int]:
        """Assign folds: of the patients as they are without the normal ones, then of these."""
        drawn = [image for image in written if image.number < self._num_patients]
        folds = assign_folds(
            [image.patient_id for image in drawn],
            [image.stratum for image in drawn],
            self._num_folds,
            self._seed,
        )
        fold_of_patient = {image.patient_id: fold for image, fold in zip(drawn, folds, strict=True)}
        normals = [image for image in written if image.entry.is_normal]
        patients = [image.patient_id for image in normals]
        of_normals = assign_normals(patients, fold_of_patient, self._num_folds, self._seed)
        return folds + [
            fold
            for image, fold in zip(normals, of_normals, strict=True)
            if image.number >= self._num_patients
        ]

    def _report(self, folder: Path) -> PreparationReport:
        """Count what a data set holds.

        Args:
            folder: Of the data set.

        Returns:
            The report.

        Raises:
            UserError: The data set contradicts itself.
        """
        _, images = read_index(folder, self._categories)
        segments = [image.entry.segments for image in images]
        labels = Counter(segment.label for each in segments for segment in each)
        counts = {
            "patients": self._num_patients + self._num_normal_patients,
            "images": len(images),
            "images without a lesion": sum(not each for each in segments),
            **(
                {"normal images": sum(image.entry.is_normal for image in images)}
                if self._with_normals
                else {}
            ),
            **{category.name: labels[label] for label, category in enumerate(self._categories)},
        }
        return PreparationReport(
            name="phantom", synthetic=True, root=str(self._root), counts=counts, problems=[]
        )
