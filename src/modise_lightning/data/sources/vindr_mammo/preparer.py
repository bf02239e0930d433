"""Prepares VinDr-Mammo (Nguyen et al. 2023, Scientific Data 10:277): from the download to the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modise_lightning.data.preparation.box_to_mask import BoxToMask
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
from modise_lightning.data.sources.vindr_mammo.files import URL, find_files
from modise_lightning.data.sources.vindr_mammo.image import ImageTask, convert_image
from modise_lightning.data.sources.vindr_mammo.selection import (
    NAMES,
    PUBLISHED_BOXES,
    PUBLISHED_IMAGES,
    Labels,
    Selection,
    select_images,
)
from modise_lightning.data.sources.vindr_mammo.tables import read_breasts, read_findings
from modise_lightning.errors import UserError

_NAME = "VinDr-Mammo"
_LICENSE = "PhysioNet credentialed licence; nothing of it may be redistributed"
_ATTRIBUTION = (
    "VinDr-Mammo: Nguyen et al. 2023, PhysioNet 1.0.0; credentialed access, not for redistribution."
)
_DESCRIPTION = (
    "Digital mammograms with boxes around findings. Changed: DICOM to PNG as displayed, boxes to masks by "
    "blur, Otsu's threshold and concave hull."
)


class VinDrMammoPreparer:
    """Turns a VinDr-Mammo download into the COCO panoptic layout.

    As in the paper only images with boxes are prepared, and a box becomes a mask by blur, Otsu's threshold
    and a concave hull. Boxes may overlap, panoptic maps cannot: smaller masks are painted over larger ones.
    The folds are of studies, since the release names no patient; each image also keeps its official split.
    """

    def __init__(
        self,
        *,
        raw: str | None,
        root: str,
        labels: Labels,
        categories: Sequence[dict[str, Any]],
        box_to_mask: BoxToMask,
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
            labels: What a box's category is: its BI-RADS assessment or the kind of finding.
            categories: Names of the release, in any order; boxes of others are left out. Of several findings
                in a box the first one here counts.
            box_to_mask: Segments a box.
            num_folds: Number of cross-validation folds.
            fold_seed: Seed of the folds.
            num_processes: Worker processes; None takes all cores. It does not change the result.
            strict: Stop at the first problem instead of leaving an image or box out.
            minimum_visible_fraction: A segment of whose area, in [0, 1], less stays visible is left out.

        Raises:
            UserError: A value is out of its range.
        """
        self._raw = raw
        self._root = Path(root)
        self._labels: Labels = labels
        self._categories = categories_from_config(categories)
        self._category_names = [category.name for category in self._categories]
        check_category_names(self._category_names, labels=labels, known=NAMES[labels], dataset=_NAME)
        check_preparation_values(
            num_folds=num_folds,
            num_processes=num_processes,
            minimum_visible_fraction=minimum_visible_fraction,
        )
        self._box_to_mask = box_to_mask
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
            ImageTask(self._root, image, self._box_to_mask, self._minimum_visible_fraction)
            for image in selection.images
        ]
        images, problems = self._converter.convert(tasks, convert_image)
        self._write_index([image.entry for image in images])
        return self._report(selection, images, problems)

    def _select(self) -> Selection:
        """Read the tables and choose the images.

        Raises:
            UserError: A file is missing, nothing can be chosen, or with ``strict`` something is wrong.
        """
        files = find_files(self._raw)
        annotated, problems = read_findings(files.findings)
        problems = [*files.problems, *problems]
        notes = [f"findings: {files.findings}"]
        breasts = None
        if files.breasts is not None:
            breasts, breast_problems = read_breasts(files.breasts)
            problems += breast_problems
            notes.append(f"breasts: {files.breasts}")
        selection = select_images(files.images, annotated, breasts, self._labels, self._category_names)
        problems += selection.problems
        self._converter.stop_if_strict(problems)
        if not selection.images:
            first = f" The first problem: {problems[0]}" if problems else ""
            raise UserError(f"{_NAME}: '{self._raw}' has no image with a usable box.{first}")
        studies = len({image.image.study_id for image in selection.images})
        if studies < self._num_folds:
            raise UserError(
                f"data.preparer.num_folds: {studies} studies cannot make {self._num_folds} folds. "
                "Ask for fewer folds."
            )
        found = (len(files.images), selection.counts["boxes"])
        if found != (PUBLISHED_IMAGES, PUBLISHED_BOXES):
            notes.append(
                f"The published dataset has {PUBLISHED_IMAGES} images and {PUBLISHED_BOXES} boxes; "
                f"this download has {found[0]} and {found[1]}."
            )
        return replace(selection, problems=problems, notes=notes + selection.notes)

    def _write_index(self, entries: Sequence[PreparedEntry]) -> None:
        labels = [sorted({segment.label for segment in entry.segments}) for entry in entries]
        frequency = Counter(label for own in labels for label in own)
        # An image of several classes stands for its rarest one, which is hardest to spread.
        strata = [self._category_names[min(own, key=lambda label: frequency[label])] for own in labels]
        patients = [entry.record.patient_id for entry in entries]
        folds = assign_folds(patients, strata, self._num_folds, self._fold_seed)
        info = {
            "name": _NAME,
            "synthetic": False,
            "description": _DESCRIPTION,
            "license": _LICENSE,
            "attribution": _ATTRIBUTION,
            "url": URL,
            "labels": self._labels,
        }
        write_index(self._root, info, self._categories, entries, folds, self._fold_seed)

    def _report(
        self, selection: Selection, images: Sequence[FinishedImage] | None, problems: Sequence[str]
    ) -> PreparationReport:
        """Sum up; without ``images`` only the verification."""
        counts = dict(selection.counts)
        tables = {"categories": {name: dict(row) for name, row in selection.classes.items()}}
        problems, notes = [*selection.problems, *problems], list(selection.notes)
        splits = Counter(image.image.split for image in selection.images)
        tables["official split"] = {
            name: {"images selected": number} for name, number in sorted(splits.items())
        }
        if images is not None:
            entries = [image.entry for image in images]
            counts |= {
                "images prepared": len(images),
                "studies prepared": len({entry.record.patient_id for entry in entries}),
                "segments prepared": sum(len(entry.segments) for entry in entries),
                "segments partly hidden by smaller ones": sum(len(image.hidden) for image in images),
            }
            for image in images:
                for what, number in image.counts.items():
                    counts[what] = counts.get(what, 0) + number
            for label, row in enumerate(tables["categories"].values()):
                own = [[segment.label for segment in entry.segments].count(label) for entry in entries]
                row["segments prepared"] = sum(own)
                row["images prepared"] = sum(number > 0 for number in own)
            for name, row in tables["official split"].items():
                row["images prepared"] = sum(entry.attributes["split"] == name for entry in entries)
            tables["pixels of segments that smaller ones cover"] = hidden_pixels(images)
            problems += [problem for image in images for problem in image.problems]
            notes += [note for image in images for note in image.notes]
        return PreparationReport(_NAME, False, str(self._root), counts, problems, notes, tables)
