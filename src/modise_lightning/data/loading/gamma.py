"""Changes the grey curve of an image, as processing differs between manufacturers."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from modise_lightning.errors import UserError


class GammaChange:
    """Raises all pixels to a random power (Isensee et al. 2021, nnU-Net)."""

    def __init__(
        self, *, probability: Annotated[float, Field(ge=0, le=1)], exponent_range: tuple[float, float]
    ) -> None:
        """Set the ranges.

        Args:
            probability: That an image is changed.
            exponent_range: Below 1 dark tissue becomes brighter, above 1 darker. Powers below and above 1 are
                drawn equally often.

        Raises:
            UserError: The range is none of positive exponents.
        """
        if not 0 < exponent_range[0] <= exponent_range[1] < math.inf:
            raise UserError(
                f"gamma.exponent_range: {list(exponent_range)}; give two positive ones, the smaller first."
            )
        self.probability = probability
        self.exponent_range = exponent_range

    def __call__(self, image: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """Change an image in [0, 1]; black and white stay."""
        if generator.random() >= self.probability:
            return image
        return np.asarray(image ** np.float32(self.draw_exponent(generator)), dtype=np.float32)

    def draw_exponent(self, generator: np.random.Generator) -> float:
        """Draw the power, as batchgenerators' ``augment_gamma`` does."""
        low, high = self.exponent_range
        if low < 1 < high:
            low, high = (low, 1.0) if generator.random() < 0.5 else (1.0, high)
        return float(generator.uniform(low, high))
