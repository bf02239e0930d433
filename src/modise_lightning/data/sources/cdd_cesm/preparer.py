"""Prepares CDD-CESM (Khaled et al. 2022, Scientific Data 9:122): from the download to the prepared layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from modise_lightning.data.preparation.conversion import (
    ImageConverter,
    check_category_names,
    check_preparation_values,
    hidden_pixels,
)
from modise_lightning.data.preparation.folds import assign_folds
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.parallel import available_cores
from modise_lightning.data.preparation.report import PreparationReport
from modise_lightning.data.prepared.categories import categories_from_config
from modise_lightning.data.prepared.writing import PreparedEntry, write_index
from modise_lightning.data.sources.cdd_cesm.image import ImageTask, convert_image
from modise_lightning.data.sources.cdd_cesm.selection import (
    NAMES,
    PUBLISHED_IMAGES,
    PUBLISHED_REGIONS,
    Labels,
    Selection,
    select_images,
)
from modise_lightning.data.sources.cdd_cesm.tables import (
    URL,
    Modality,
    find_files,
    read_regions,
    read_sheet,
)
from modise_lightning.errors import UserError

_NAME = "CDD-CESM"
_BOTH_MODALITIES: tuple[Modality, ...] = ("low_energy", "subtracted")
_ATTRIBUTION = "CDD-CESM: Khaled et al. 2021, The Cancer Imaging Archive, DOI 10.7937/29kw-ae92, CC BY 4.0."
_DESCRIPTION = (
    "Contrast-enhanced mammograms with outlined findings. Changed: JPEG to PNG, outlines to panoptic maps; "
    "a region takes its image's class."
)


class CddCesmPreparer:
    """Turns a CDD-CESM download into the COCO panoptic layout.

    As in the paper only images with regions are prepared, none of normal breasts, and a region takes its
    image's class. Regions overlap in the download and cannot in panoptic maps: smaller ones are painted over
    larger ones.
    """

    def __init__(
        self,
        *,
        raw: str | None,
        root: str,
        labels: Labels,
        categories: Sequence[dict[str, Any]],
        modality: Literal["low_energy", "subtracted", "both"],
        num_folds: int,
        fold_seed: int,
        num_processes: int | None,
        strict: bool,
        minimum_visible_fraction: float,
    ) -> None:
        """Check the arguments; nothing is read or written yet.

        Args:
            raw: Folder of the download.
            root: Folder of the prepared dataset.
            labels: What an image's category is: its pathology, or the kind of finding that the sheet names.
            categories: ``benign`` and ``malignant``, or kinds of finding (images of others are left out), in
                any order. Of several kinds in an image the first one here counts.
            modality: Which images: low-energy (DM), subtracted (CM), or both.
            num_folds: Number of cross-validation folds.
            fold_seed: Seed of the folds.
            num_processes: Worker processes; None takes all cores. It does not change the result.
            strict: Stop at the first problem instead of leaving an image or region out.
            minimum_visible_fraction: A region of whose area, in [0, 1], less stays visible is left out.

        Raises:
            UserError: A value is out of its range.
        """
        self._raw = raw
        self._root = Path(root)
        self._categories = categories_from_config(categories)
        names = [category.name for category in self._categories]
        check_category_names(names, labels=labels, known=NAMES[labels], dataset=_NAME)
        check_preparation_values(
            num_folds=num_folds,
            num_processes=num_processes,
            minimum_visible_fraction=minimum_visible_fraction,
        )
        self._labels: Labels = labels
        self._label_of = {name: index for index, name in enumerate(names)}
        self._modality = modality
        self._num_folds = num_folds
        self._fold_seed = fold_seed
        self._minimum_visible_fraction = minimum_visible_fraction
        self._converter = ImageConverter(
            root=self._root, name=_NAME, num_processes=num_processes or available_cores(), strict=strict
        )

    def verify(self) -> PreparationReport:
        """Check the download's files, tables and counts without converting or writing anything.

        Returns:
            What was found and would be used.

        Raises:
            UserError: Something that is needed is missing; with ``strict`` any problem.
        """
        return self._report(self._select(), None, [])

    def prepare(self) -> PreparationReport:
        """Verify and convert; what an earlier run with the same settings finished is kept.

        Returns:
            What was found, used, repaired and left out.

        Raises:
            UserError: The download cannot be used, or the folder holds something else; with ``strict`` any
                problem.
        """
        selection = self._select()
        tasks = [
            ImageTask(self._root, image, self._label_of[image.category], self._minimum_visible_fraction)
            for image in selection.images
        ]
        images, problems = self._converter.convert(tasks, convert_image)
        self._write_index(images)
        return self._report(selection, images, problems)

    def _select(self) -> Selection:
        """Read the tables and choose the images.

        Raises:
            UserError: A file is missing, nothing can be chosen, or with ``strict`` something is wrong.
        """
        files = find_files(self._raw)
        sheet, sheet_problems = read_sheet(files.sheet)
        regions, region_problems = read_regions(files.regions)
        modalities = _BOTH_MODALITIES if self._modality == "both" else (self._modality,)
        selection = select_images(
            files.images, sheet, regions, self._labels, list(self._label_of), modalities
        )
        problems = [*files.problems, *sheet_problems, *region_problems, *selection.problems]
        self._converter.stop_if_strict(problems)
        patients = len({image.name.patient for image in selection.images})
        if not selection.images:
            first = f" The first problem: {problems[0]}" if problems else ""
            raise UserError(f"{_NAME}: '{self._raw}' has no image with a usable region.{first}")
        if patients < self._num_folds:
            raise UserError(
                f"data.preparer.num_folds: {patients} patients cannot make {self._num_folds} folds. "
                "Ask for fewer folds."
            )
        notes = [f"{label}: {path}" for label, path in (("sheet", files.sheet), ("regions", files.regions))]
        if (len(files.images), sum(map(len, regions.values()))) != (PUBLISHED_IMAGES, PUBLISHED_REGIONS):
            notes.append(
                f"The published dataset has {PUBLISHED_IMAGES} images and {PUBLISHED_REGIONS} regions; "
                f"this download has {len(files.images)} and {sum(map(len, regions.values()))}."
            )
        return replace(selection, problems=problems, notes=notes + selection.notes)

    def _write_index(self, images: Sequence[FinishedImage]) -> None:
        entries = [image.entry for image in images]
        folds = assign_folds(
            [entry.record.patient_id for entry in entries],
            [self._category(entry) for entry in entries],
            self._num_folds,
            self._fold_seed,
        )
        info = {
            "name": _NAME,
            "synthetic": False,
            "description": _DESCRIPTION,
            "license": "CC BY 4.0",
            "attribution": _ATTRIBUTION,
            "url": URL,
            "modality": self._modality,
            "labels": self._labels,
        }
        write_index(self._root, info, self._categories, entries, folds, self._fold_seed)

    def _report(
        self, selection: Selection, images: Sequence[FinishedImage] | None, problems: Sequence[str]
    ) -> PreparationReport:
        """Sum up; without ``images`` only the verification."""
        counts, classes = dict(selection.counts), {name: dict(row) for name, row in selection.classes.items()}
        tables = {"classes": classes, "kinds of finding in an image": selection.findings}
        problems, notes = [*selection.problems, *problems], list(selection.notes)
        if images is not None:
            counts |= {
                "images prepared": len(images),
                "patients prepared": len({image.entry.record.patient_id for image in images}),
                "regions prepared": sum(len(image.entry.segments) for image in images),
                "regions partly hidden by smaller ones": sum(len(image.hidden) for image in images),
            }
            for name, row in classes.items():
                entries = [image.entry for image in images if self._category(image.entry) == name]
                row["images prepared"] = len(entries)
                row["regions prepared"] = sum(len(entry.segments) for entry in entries)
            tables["pixels of regions that smaller ones cover"] = hidden_pixels(images)
            problems += [problem for image in images for problem in image.problems]
            notes += [note for image in images for note in image.notes]
        return PreparationReport(_NAME, False, str(self._root), counts, problems, notes, tables)

    def _category(self, entry: PreparedEntry) -> str:
        """Give the category that all segments of an image have."""
        return self._categories[entry.segments[0].label].name
