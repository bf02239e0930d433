"""Looks at each image before anything is predicted: its content's hash, its tags, and its unknown white."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass

from torch.utils.data import Dataset

from modise_lightning.data.images.image_file import ImageFile
from modise_lightning.data.images.reading import is_dicom, largest_undeclared
from modise_lightning.errors import UserError
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.inputs.dicom_tags import DicomTags, read_tags
from modise_lightning.prediction.inputs.finding import InputImage

_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class InspectedImage:
    """What is known of an image before it is predicted.

    Attributes:
        image: Where it is.
        digest: SHA-256 of its file.
        tags: Of DICOM; None for a picture.
        undeclared: The largest sample of a 16-bit picture that says nothing of its white; else None.
    """

    image: InputImage
    digest: str
    tags: DicomTags | None
    undeclared: int | None


class ImagesToInspect(Dataset[InspectedImage | str]):
    """Inspects images by their number; gives the reason where one cannot be read."""

    def __init__(self, images: list[InputImage], limits: ArchiveLimits) -> None:
        """Name the images.

        Args:
            images: To be inspected.
            limits: Of archives.
        """
        self.images = images
        self.limits = limits

    def __len__(self) -> int:
        """Give the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> InspectedImage | str:
        """Inspect an image, or tell why it cannot be."""
        image = self.images[index]
        with warnings.catch_warnings():
            # pydicom quotes values that it doubts, which may be a patient's.
            warnings.simplefilter("ignore")
            return self._inspect(image)

    def _inspect(self, image: InputImage) -> InspectedImage | str:
        try:
            file = image.file(self.limits)
            digest = hash_content(file)
            if is_dicom(file):
                return InspectedImage(image, digest, read_tags(file), None)
            return InspectedImage(image, digest, None, largest_undeclared(file))
        except UserError as error:
            return str(error)
        except OSError as error:
            return f"'{image}' cannot be read ({error.strerror or error})."


def hash_content(file: ImageFile) -> str:
    """Hash a file piece by piece, with SHA-256."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
