"""Prepares VinDr-Mammo (Nguyen et al. 2023, Scientific Data 10:277): from the download to the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modise_lightning.data.preparation.box_to_mask import BoxToMask
from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source, Tables
from modise_lightning.data.prepared.writing import Normals
from modise_lightning.data.sources.vindr_mammo.files import URL, find_files
from modise_lightning.data.sources.vindr_mammo.image import ImageTask, convert_image
from modise_lightning.data.sources.vindr_mammo.selection import (
    NAMES,
    PUBLISHED_BOXES,
    PUBLISHED_IMAGES,
    Labels,
    SelectedImage,
    Selection,
    select_images,
)
from modise_lightning.data.sources.vindr_mammo.tables import read_breasts, read_findings


@dataclass(kw_only=True)
class VinDrMammoPreparer(DownloadPreparer[Selection, ImageTask]):
    """Turns a VinDr-Mammo download into the COCO panoptic layout.

    As in the paper only images with boxes are prepared, those without a finding only if they are asked for,
    and a box becomes a mask by blur, Otsu's threshold and a concave hull. Boxes may overlap, panoptic maps
    cannot: smaller masks are painted over larger ones.
    The folds are of studies, since the release names no patient; each image also keeps its official split.

    Attributes:
        labels: What a box's category is: its BI-RADS assessment or the kind of finding.
        box_to_mask: Segments a box.
        normals: Whether images without a finding are prepared too: with anything but ``none``.
    """

    source = Source(
        name="VinDr-Mammo",
        description=(
            "Digital mammograms with boxes around findings. Changed: DICOM to PNG as displayed, boxes to "
            "masks by blur, Otsu's threshold and concave hull."
        ),
        license="PhysioNet credentialed licence; nothing of it may be redistributed",
        attribution=(
            "VinDr-Mammo: Nguyen et al. 2023, PhysioNet 1.0.0; credentialed access, not for redistribution."
        ),
        url=URL,
        outlines="boxes",
        segments="segments",
        groups="studies",
        class_table="categories",
    )
    known_names = NAMES

    labels: Labels
    box_to_mask: BoxToMask
    normals: Normals

    def select(self) -> Selection:
        """Join the tables and the files."""
        files = find_files(self.raw)
        annotated, problems = read_findings(files.findings)
        problems = [*files.problems, *problems]
        notes = [f"findings: {files.findings}"]
        breasts = None
        if files.breasts is not None:
            breasts, breast_problems = read_breasts(files.breasts)
            problems += breast_problems
            notes.append(f"breasts: {files.breasts}")
        selection = select_images(
            files.images, annotated, breasts, self.labels, self.names, self.normals != "none"
        )
        found = (len(files.images), selection.counts["boxes"])
        if found != (PUBLISHED_IMAGES, PUBLISHED_BOXES):
            notes.append(
                f"The published dataset has {PUBLISHED_IMAGES} images and {PUBLISHED_BOXES} boxes; "
                f"this download has {found[0]} and {found[1]}."
            )
        return replace(selection, problems=problems + selection.problems, notes=notes + selection.notes)

    def group_of(self, image: SelectedImage) -> str:
        """Give the study."""
        return image.image.study_id

    def is_normal(self, image: SelectedImage) -> bool:
        """Tell whether the table says that it has no finding."""
        return not image.boxes

    def task(self, image: SelectedImage) -> ImageTask:
        """Give what a worker needs."""
        return ImageTask(self.folder, image, self.box_to_mask, self.minimum_visible_fraction)

    @property
    def convert(self) -> Callable[[ImageTask], FinishedImage | str]:
        """Give the function that writes an image."""
        return convert_image

    def tables(self, selection: Selection, images: Sequence[FinishedImage] | None) -> Tables:
        """Give the images of each part of the official split."""
        splits = Counter(image.image.split for image in selection.images)
        rows: dict[str, dict[str, int]] = {
            name: {"images selected": number} for name, number in sorted(splits.items())
        }
        for name, row in rows.items() if images is not None else ():
            row["images prepared"] = sum(image.entry.attributes["split"] == name for image in images or ())
        return {"official split": rows}
