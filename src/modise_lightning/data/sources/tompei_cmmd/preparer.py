"""Prepares TOMPEI-CMMD, outlines for the Chinese Mammography Database: from the download to the layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source, Tables
from modise_lightning.data.sources.tompei_cmmd.files import URL, find_files
from modise_lightning.data.sources.tompei_cmmd.image import ImageTask, convert_image
from modise_lightning.data.sources.tompei_cmmd.selection import (
    NAMES,
    PUBLISHED_IMAGES,
    PUBLISHED_LESIONS,
    Labels,
    SelectedImage,
    Selection,
    select_images,
)
from modise_lightning.data.sources.tompei_cmmd.tables import read_breasts


@dataclass(kw_only=True)
class TompeiCmmdPreparer(DownloadPreparer[Selection, ImageTask]):
    """Turns TOMPEI-CMMD and the images of CMMD into the COCO panoptic layout.

    Only images with outlines are prepared, which are all MLO views. The workbook's exclusions are followed,
    and left and right are corrected where the workbook or the outlines show that an image's header is wrong.

    Attributes:
        labels: What an outline's category is: the pathology of its breast, or its own finding.
    """

    source = Source(
        name="TOMPEI-CMMD",
        description=(
            "Digital mammograms of CMMD with TOMPEI's outlines of lesions. Changed: DICOM to PNG as "
            "displayed, outlines to panoptic maps, wrong sides corrected."
        ),
        license="images (CMMD): CC BY 4.0; outlines: as The Cancer Imaging Archive states",
        attribution=(
            "TOMPEI-CMMD, and CMMD (Cui et al. 2021, DOI 10.7937/tcia.eqde-4b16, CC BY 4.0), The Cancer "
            "Imaging Archive."
        ),
        url=URL,
        outlines="outlines",
        segments="segments",
        groups="patients",
        class_table="categories",
    )
    known_names = NAMES

    labels: Labels

    def select(self) -> Selection:
        """Join the images, the outlines and the workbook."""
        files = find_files(self.raw)
        breasts, problems = read_breasts(files.workbook)
        selection = select_images(files, breasts, self.labels, self.names)
        notes = [f"workbook: {files.workbook}"]
        found = (len(files.outlines), selection.counts["outlines"])
        if found != (PUBLISHED_IMAGES, PUBLISHED_LESIONS):
            notes.append(
                f"The release has {PUBLISHED_LESIONS} outlines in {PUBLISHED_IMAGES} images; this download "
                f"has {found[1]} in {found[0]}."
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
        """Give the breasts of each class in the workbook."""
        del images
        return {"breasts in the workbook": selection.breasts}
