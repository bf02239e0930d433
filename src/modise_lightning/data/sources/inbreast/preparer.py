"""Prepares INbreast (Moreira et al. 2012, Academic Radiology 19:236): from the download to the layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source, Tables
from modise_lightning.data.prepared.writing import Normals
from modise_lightning.data.sources.inbreast.image import ImageTask, convert_image
from modise_lightning.data.sources.inbreast.selection import (
    NAMES,
    PUBLISHED_IMAGES,
    Labels,
    SelectedImage,
    Selection,
    select_images,
)
from modise_lightning.data.sources.inbreast.tables import URL, find_files, read_table
from modise_lightning.errors import UserError


@dataclass(kw_only=True)
class InbreastPreparer(DownloadPreparer[Selection, ImageTask]):
    """Turns an INbreast download into the COCO panoptic layout.

    Images without outlines are prepared only if they are asked for. Outlines overlap (clusters hold
    calcifications), panoptic maps cannot: smaller ones are painted over larger ones.

    Attributes:
        labels: What an outline's category is: its finding, or its image's BI-RADS assessment.
        point_radius: Of the disc that a single point becomes, in pixels; 0 leaves points out.
        normals: Whether images without outlines are prepared too: with anything but ``none``.
    """

    source = Source(
        name="INbreast",
        description=(
            "Full-field digital mammograms with outlined findings. Changed: DICOM to PNG as displayed, "
            "outlines to panoptic maps."
        ),
        license="for research, on request from its authors; not for redistribution",
        attribution="INbreast: Moreira et al. 2012, INESC Porto; for research, not for redistribution.",
        url=URL,
        outlines="outlines",
        segments="segments",
        groups="patients",
        class_table="categories",
    )
    known_names = NAMES

    labels: Labels
    point_radius: float
    normals: Normals

    def __post_init__(self) -> None:
        """Check the arguments; nothing is read or written yet.

        Raises:
            UserError: Names the value that is out of its range.
        """
        super().__post_init__()
        if not 0 <= self.point_radius <= 100:
            raise UserError(f"data.point_radius: {self.point_radius} pixels; 0 to 100 are possible.")

    def select(self) -> Selection:
        """Join the table, the images and the outlines."""
        files = find_files(self.raw)
        rows, problems, notes = read_table(files.table)
        selection = select_images(
            files, rows, self.labels, self.names, self.point_radius, self.normals != "none"
        )
        notes = [f"table: {files.table}", *notes]
        if len(files.images) != PUBLISHED_IMAGES:
            notes.append(f"The release has {PUBLISHED_IMAGES} images; this download has {len(files.images)}.")
        problems = [*files.problems, *problems, *selection.problems]
        return replace(selection, problems=problems, notes=notes + selection.notes)

    def group_of(self, image: SelectedImage) -> str:
        """Give the patient."""
        return image.image.patient

    def is_normal(self, image: SelectedImage) -> bool:
        """Tell whether nothing is outlined in it."""
        return not image.regions

    def task(self, image: SelectedImage) -> ImageTask:
        """Give what a worker needs."""
        return ImageTask(self.folder, image, self.minimum_visible_fraction)

    @property
    def convert(self) -> Callable[[ImageTask], FinishedImage | str]:
        """Give the function that writes an image."""
        return convert_image

    def info(self) -> dict[str, str]:
        """Say what became of single points."""
        return {"point_radius": f"{self.point_radius:g} pixels" if self.point_radius else "points left out"}

    def tables(self, selection: Selection, images: Sequence[FinishedImage] | None) -> Tables:
        """Give the names of outlines in the release, in all spellings."""
        del images
        return {"names of outlines": selection.names}
