"""The images and their truth as files that need no library of ours: what peers train and predict on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

INDEX = "exchange.json"


@dataclass(frozen=True)
class ExchangedImage:
    """An image.

    Attributes:
        key: Names its files.
        position: In the prepared dataset.
        fold: Of the prepared dataset.
        height: Of the stored image in pixels: the size that predictions must have.
        width: Likewise.
        labels: Index of the class of each segment 1..N.
    """

    key: str
    position: int
    fold: int
    height: int
    width: int
    labels: list[int]


@dataclass(frozen=True)
class Exchange:
    """A folder with ``images/KEY.png`` (8-bit grey) and ``segments/KEY.png`` (0 or the segment 1..N).

    Attributes:
        folder: Where it is.
        size: Longer side of the images in pixels.
        categories: Names of the classes that occur, by their index in the prepared dataset.
        images: All images of the dataset.
    """

    folder: Path
    size: int
    categories: dict[int, str]
    images: list[ExchangedImage]

    def split(self, fold: int, part: Literal["train", "validation", "test"]) -> list[ExchangedImage]:
        """Give the images of a part as the library divides them: the fold after the test's is for validation.

        Args:
            fold: The test fold.
            part: Which images.
        """
        number = max(image.fold for image in self.images) + 1
        chosen = {
            "test": {fold},
            "validation": {(fold + 1) % number},
            "train": set(range(number)) - {fold, (fold + 1) % number},
        }[part]
        return [image for image in self.images if image.fold in chosen]

    def read_image(self, image: ExchangedImage) -> NDArray[np.uint8]:
        """Read an image, (h, w)."""
        return _read(self.folder / "images" / f"{image.key}.png")

    def read_segments(self, image: ExchangedImage) -> NDArray[np.uint8]:
        """Read the truth of an image, (h, w): 0, or the segment 1..N."""
        return _read(self.folder / "segments" / f"{image.key}.png")

    def write_index(self) -> None:
        """Write the index, which makes the folder whole."""
        content = {
            "size": self.size,
            "categories": {str(index): name for index, name in self.categories.items()},
            "images": [asdict(image) for image in self.images],
        }
        (self.folder / INDEX).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_exchange(folder: Path) -> Exchange:
    """Read the index of a folder."""
    content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return Exchange(
        folder,
        content["size"],
        {int(index): name for index, name in content["categories"].items()},
        [ExchangedImage(**image) for image in content["images"]],
    )


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write 8-bit grey values."""
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path}: cannot be written")


def _read(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise OSError(f"{path}: cannot be read; remove the folder, so that it is made again")
    return np.asarray(pixels, dtype=np.uint8)
