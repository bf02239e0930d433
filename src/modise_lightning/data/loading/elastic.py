"""Bends an image and its segments, as a breast is never compressed twice alike."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field


class ElasticDeformation:
    """Random displacements on a coarse grid, smooth in between (Ronneberger et al. 2015, U-Net)."""

    def __init__(
        self,
        *,
        probability: Annotated[float, Field(ge=0, le=1)],
        grid_size: Annotated[int, Field(ge=2, le=32)],
        deviation: Annotated[float, Field(ge=0, le=0.2)],
    ) -> None:
        """Set the ranges.

        Args:
            probability: That an image is bent.
            grid_size: Points of the grid a side.
            deviation: Standard deviation of a point's displacement along each axis, as a share of the
                longer side.
        """
        self.probability = probability
        self.grid_size = grid_size
        self.deviation = deviation

    def __call__(
        self, image: NDArray[np.float32], ids: NDArray[np.int32], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Bend an image and its ids alike; what comes from outside repeats the border.

        Args:
            image: (H, W) in [0, 1], or (H, W, 3).
            ids: (H, W) segment ids.
            generator: Where all randomness comes from.
        """
        if generator.random() >= self.probability:
            return image, ids
        rows, columns = self.draw_positions((ids.shape[0], ids.shape[1]), generator)
        bent = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # OpenCV has no such map of whole numbers of 32 bits.
        nearest = (
            np.rint(axis).astype(np.int64).clip(0, length - 1)
            for axis, length in zip((rows, columns), ids.shape, strict=True)
        )
        return np.asarray(bent, dtype=np.float32), ids[tuple(nearest)]

    def draw_positions(
        self, shape: tuple[int, int], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw from which row and column each pixel comes, both (H, W)."""
        height, width = shape
        grid = generator.normal(0, self.deviation * max(shape), (self.grid_size, self.grid_size, 2))
        shift = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        rows = np.arange(height, dtype=np.float32)[:, None] + shift[..., 0]
        columns = np.arange(width, dtype=np.float32)[None, :] + shift[..., 1]
        return rows, columns
