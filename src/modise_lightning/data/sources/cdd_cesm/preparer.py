"""Prepares CDD-CESM (Khaled et al. 2022, Scientific Data 9:122): from the download to the prepared layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modise_lightning.data.preparation.journal import FinishedImage
from modise_lightning.data.preparation.preparer import DownloadPreparer, Source, Tables
from modise_lightning.data.prepared.writing import Normals
from modise_lightning.data.sources.cdd_cesm.image import ImageTask, convert_image
from modise_lightning.data.sources.cdd_cesm.pairs import Outlines, pair_images
from modise_lightning.data.sources.cdd_cesm.selection import (
    NAMES,
    PUBLISHED_IMAGES,
    PUBLISHED_REGIONS,
    Labels,
    SelectedImage,
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

_BOTH_MODALITIES: tuple[Modality, ...] = ("low_energy", "subtracted")


@dataclass(kw_only=True)
class CddCesmPreparer(DownloadPreparer[Selection, ImageTask]):
    """Turns a CDD-CESM download into the COCO panoptic layout.

    As in the paper only images with regions are prepared, none of normal breasts unless they are asked for,
    and a region takes its image's class. Regions overlap in the download and cannot in panoptic maps:
    smaller ones are painted over larger ones.

    Attributes:
        labels: What an image's category is: its pathology (``benign``, ``malignant``), or the kind of finding
            that the sheet names.
        modality: Which images: low-energy (DM), subtracted (CM), both, or both of a view as one (``pair``).
        outlines: Whose outline a lesion of a pair has that both of its images outline.
        minimum_pair_iou: Least intersection over union, in (0, 1], of two outlines of one lesion of a pair.
        normals: Whether images that the sheet calls normal are prepared too: with anything but ``none``.
    """

    source = Source(
        name="CDD-CESM",
        description=(
            "Contrast-enhanced mammograms with outlined findings. Changed: JPEG to PNG, outlines to panoptic "
            "maps; a region takes its image's class."
        ),
        license="CC BY 4.0",
        attribution=(
            "CDD-CESM: Khaled et al. 2021, The Cancer Imaging Archive, DOI 10.7937/29kw-ae92, CC BY 4.0."
        ),
        url=URL,
        outlines="regions",
        segments="regions",
        groups="patients",
    )
    known_names = NAMES

    labels: Labels
    modality: Literal["low_energy", "subtracted", "both", "pair"]
    normals: Normals
    outlines: Outlines = "union"
    minimum_pair_iou: float = 0.25

    def __post_init__(self) -> None:
        """Check the arguments; nothing is read or written yet.

        Raises:
            UserError: Names the value that is out of its range.
        """
        super().__post_init__()
        if not 0 < self.minimum_pair_iou <= 1:
            raise UserError(f"data.preparer.minimum_pair_iou: {self.minimum_pair_iou} is not in (0, 1].")

    def select(self) -> Selection:
        """Join the sheet, the regions and the files."""
        files = find_files(self.raw)
        sheet, sheet_problems = read_sheet(files.sheet)
        regions, region_problems = read_regions(files.regions)
        modalities = (self.modality,) if self.modality in _BOTH_MODALITIES else _BOTH_MODALITIES
        selection = select_images(
            files.images, sheet, regions, self.labels, self.names, modalities, self.normals != "none"
        )
        if self.modality == "pair":
            selection = pair_images(selection, files.images, self.names)
        notes = [f"{label}: {path}" for label, path in (("sheet", files.sheet), ("regions", files.regions))]
        found = (len(files.images), sum(map(len, regions.values())))
        if found != (PUBLISHED_IMAGES, PUBLISHED_REGIONS):
            notes.append(
                f"The published dataset has {PUBLISHED_IMAGES} images and {PUBLISHED_REGIONS} regions; "
                f"this download has {found[0]} and {found[1]}."
            )
        problems = [*files.problems, *sheet_problems, *region_problems, *selection.problems]
        return replace(selection, problems=problems, notes=notes + selection.notes)

    def group_of(self, image: SelectedImage) -> int:
        """Give the patient's number."""
        return image.name.patient

    def is_normal(self, image: SelectedImage) -> bool:
        """Tell whether the sheet calls it normal."""
        return image.category is None

    def task(self, image: SelectedImage) -> ImageTask:
        """Give what a worker needs."""
        label = None if image.category is None else self.names.index(image.category)
        return ImageTask(
            self.folder,
            image,
            label,
            self.minimum_visible_fraction,
            self.outlines,
            self.minimum_pair_iou,
        )

    @property
    def convert(self) -> Callable[[ImageTask], FinishedImage | str]:
        """Give the function that writes an image."""
        return convert_image

    def info(self) -> dict[str, str]:
        """Say which modality was chosen."""
        pair = {"channels": "rgb", "outlines": self.outlines} if self.modality == "pair" else {}
        return {"modality": self.modality, **pair}

    def tables(self, selection: Selection, images: Sequence[FinishedImage] | None) -> Tables:
        """Give the kinds of finding that the sheet names together."""
        del images
        return {"kinds of finding in an image": selection.findings}
