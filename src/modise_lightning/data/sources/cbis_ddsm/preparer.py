"""Prepares CBIS-DDSM (Lee et al. 2017, Scientific Data 4:170177): download to prepared layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source, Tables
from modise_lightning.data.sources.cbis_ddsm.files import URL, find_files
from modise_lightning.data.sources.cbis_ddsm.image import ImageTask, convert_image
from modise_lightning.data.sources.cbis_ddsm.selection import (
    NAMES,
    PUBLISHED_ABNORMALITIES,
    PUBLISHED_IMAGES,
    Labels,
    SelectedImage,
    Selection,
    select_images,
)
from modise_lightning.data.sources.cbis_ddsm.tables import read_tables


@dataclass(kw_only=True)
class CbisDdsmPreparer(DownloadPreparer[Selection, ImageTask]):
    """Turns a CBIS-DDSM download into the COCO panoptic layout.

    Each image series is an image, and each abnormality with a mask a segment of it. Masks may overlap,
    panoptic maps cannot: smaller ones are painted over larger ones. Patients who are in both parts of the
    official split are tested there and not trained on; folds never divide a patient.

    Attributes:
        labels: What an abnormality's category is: its pathology, its kind, or its BI-RADS assessment.
    """

    source = Source(
        name="CBIS-DDSM",
        description=(
            "Digitised film mammograms with masks of masses and calcifications. Changed: DICOM to PNG with "
            "the contrast of the breast, masks to panoptic maps."
        ),
        license="CC BY 3.0",
        attribution=(
            "CBIS-DDSM: Sawyer-Lee et al. 2016, The Cancer Imaging Archive, "
            "DOI 10.7937/K9/TCIA.2016.7O02S9CY, CC BY 3.0."
        ),
        url=URL,
        outlines="masks",
        segments="segments",
        groups="patients",
    )
    known_names = NAMES

    labels: Labels

    def select(self) -> Selection:
        """Join the tables and the files."""
        files = find_files(self.raw)
        mammograms, rows, problems = read_tables(files.tables)
        selection = select_images(files.raw, files.series, mammograms, rows, self.labels, self.names)
        notes = [f"table: {path}" for path in files.tables.values()]
        found = (len(mammograms), sum(rows.values()))
        if found != (PUBLISHED_IMAGES, PUBLISHED_ABNORMALITIES):
            notes.append(
                f"The published tables have {PUBLISHED_IMAGES} images and {PUBLISHED_ABNORMALITIES} "
                f"abnormalities; those of this download have {found[0]} and {found[1]}."
            )
        problems = [*files.problems, *problems, *selection.problems]
        return replace(selection, problems=problems, notes=notes + selection.notes)

    def group_of(self, image: SelectedImage) -> str:
        """Give the patient."""
        return image.image.patient

    def task(self, image: SelectedImage) -> ImageTask:
        """Give what a worker needs."""
        return ImageTask(self.folder, image, self.minimum_visible_fraction)

    @property
    def convert(self) -> Callable[[ImageTask], FinishedImage | str]:
        """Give the function that writes an image."""
        return convert_image

    def tables(self, selection: Selection, images: Sequence[FinishedImage] | None) -> Tables:
        """Give what each of the release's tables holds, and the images of each part of the official split."""
        splits: dict[str, dict[str, int]] = {}
        for image in selection.images:
            row = splits.setdefault(image.split, {"images selected": 0})
            row["images selected"] += 1
        for name, row in splits.items() if images is not None else ():
            own = [image.entry for image in images or () if image.entry.attributes["split"] == name]
            row["images prepared"] = len(own)
            row["segments prepared"] = sum(len(entry.segments) for entry in own)
        return {"tables": selection.tables, "official split": dict(sorted(splits.items()))}
