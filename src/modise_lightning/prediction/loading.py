"""Decodes images in worker processes and puts them into batches that the whole list of images decides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from modise_lightning.data.images.colours import read_colours
from modise_lightning.data.images.image_file import PixelSettings
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.loading.batches import pad_to_multiple
from modise_lightning.data.loading.transforms import EvaluationTransform, luminance
from modise_lightning.errors import UserError
from modise_lightning.images_to_predict import ImagesToPredict
from modise_lightning.prediction.inputs.archive import ArchiveLimits
from modise_lightning.prediction.inputs.finding import InputImage
from modise_lightning.structures import Region

# A picture of which hardly a pixel is brighter, or darker, than a sixteenth of the range shows nothing.
_NEARLY_BLACK, _NEARLY_WHITE = 1 / 16, 15 / 16
_LEAST_SHARE = 0.001


@dataclass(frozen=True)
class LoadingTask:
    """An image that is to be loaded.

    Attributes:
        number: Its place in the list of all images.
        image: Where it is.
        label: What messages and results call it.
        pixels: What is done where its file does not say enough.
    """

    number: int
    image: InputImage
    label: str
    pixels: PixelSettings


@dataclass(frozen=True)
class LoadedImage:
    """An image as the network sees it, and as it is drawn.

    Attributes:
        number: Its place in the list of all images.
        pixels: (C, h, w) float32 in [0, 1], as large as the network sees it: grey, or three colours.
        region: The part of the image that it shows.
        picture: (H, W) uint8, the whole image.
        notes: What is to be told of it.
    """

    number: int
    pixels: Tensor
    region: Region
    picture: NDArray[np.uint8]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class UnreadableImage:
    """An image that cannot be read, and why."""

    number: int
    reason: str


class ImagesToLoad(Dataset[LoadedImage | UnreadableImage]):
    """Loads images by their place in a list of tasks."""

    def __init__(
        self,
        tasks: Sequence[LoadingTask],
        transform: EvaluationTransform,
        limits: ArchiveLimits,
        *,
        in_colours: bool,
    ) -> None:
        """Name the images.

        Args:
            tasks: To be loaded.
            transform: What an image is resized and trimmed with.
            limits: Of archives.
            in_colours: Whether the network sees colours.
        """
        self.in_colours = in_colours
        self.tasks = tasks
        self.transform = transform
        self.limits = limits

    def __len__(self) -> int:
        """Give the number of tasks."""
        return len(self.tasks)

    def __getitem__(self, index: int) -> LoadedImage | UnreadableImage:
        """Load an image, or tell why it cannot be."""
        task = self.tasks[index]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                file = task.image.file(self.limits)
                read = read_colours if self.in_colours else read_image_file
                pixels = read(file, task.pixels)
            except UserError as error:
                return UnreadableImage(task.number, called(task, str(error)))
            except OSError as error:
                return UnreadableImage(
                    task.number, f"'{task.label}' cannot be read ({error.strerror or error})."
                )
            image = luminance(pixels)
            resized, region = self.transform(pixels)
        # Only our own warnings are of a kind that a reader can act on; libraries' are about their insides.
        notes = [called(task, str(warning.message)) for warning in caught if _is_own(warning)]
        notes += _plausibility(task.label, image)
        picture = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
        # Grey values are repeated by whoever predicts: a third of the bytes goes from process to process.
        seen = resized if self.in_colours else resized[:1].clone()
        return LoadedImage(task.number, seen, region, picture, tuple(notes))


def called(task: LoadingTask, text: str) -> str:
    """Put the name that results have for an image in place of its path."""
    return text.replace(str(task.image), task.label)


def _is_own(warning: warnings.WarningMessage) -> bool:
    return issubclass(warning.category, UserWarning) and "modise_lightning" in str(warning.filename)


def _plausibility(label: str, image: NDArray[np.float32]) -> list[str]:
    share_bright = float((image > _NEARLY_BLACK).mean())
    share_dark = float((image < _NEARLY_WHITE).mean())
    if share_bright < _LEAST_SHARE:
        return [f"'{label}' is nearly black as it is read; is its white or its window right?"]
    if share_dark < _LEAST_SHARE:
        return [f"'{label}' is nearly white as it is read; is its white or its window right?"]
    return []


class PredictionCollate:
    """Puts loaded images into a batch: those that are equally large when padded share a tensor."""

    def __init__(self, size_multiple: int) -> None:
        """Set what images are padded to a multiple of, in pixels."""
        self.size_multiple = size_multiple

    def __call__(self, samples: Sequence[LoadedImage | UnreadableImage]) -> ImagesToPredict:
        """Make a batch of at most as many tensors as images."""
        loaded = [sample for sample in samples if isinstance(sample, LoadedImage)]
        padded = [pad_to_multiple(sample.pixels[None], self.size_multiple) for sample in loaded]
        members: dict[tuple[int, int], list[int]] = {}
        for position, image in enumerate(padded):
            members.setdefault((image.shape[-2], image.shape[-1]), []).append(position)
        return ImagesToPredict(
            groups=[torch.cat([padded[position] for position in own]) for own in members.values()],
            members=list(members.values()),
            image_sizes=[(sample.pixels.shape[-2], sample.pixels.shape[-1]) for sample in loaded],
            regions=[sample.region for sample in loaded],
            numbers=[sample.number for sample in loaded],
            pictures=[torch.from_numpy(sample.picture) for sample in loaded],
            notes=[sample.notes for sample in loaded],
            unreadable=[
                (sample.number, sample.reason) for sample in samples if isinstance(sample, UnreadableImage)
            ],
        )
