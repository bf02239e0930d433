"""How often an epoch shows images of rare classes (Gupta et al. 2019, LVIS, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def repeat_factors(labels: Sequence[Sequence[int]], threshold: float) -> NDArray[np.float64]:
    """Compute the repeat factor of each image.

    A class in a share f of the images has the factor max(1, sqrt(threshold / f)), an image the largest one of
    its classes.

    Args:
        labels: Class indices of the segments of each image.
        threshold: Share of images below which a class is repeated.

    Returns:
        One factor of at least 1 an image; an image without segments has 1.
    """
    present = [set(own) for own in labels]
    classes = sorted(set().union(*present))
    shares = {index: sum(index in own for own in present) / len(present) for index in classes}
    factors = {index: max(1.0, float(np.sqrt(threshold / share))) for index, share in shares.items()}
    return np.array([max((factors[index] for index in own), default=1.0) for own in present])


def draw_in_proportion(factors: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many images as there are, each in proportion to its factor (systematic sampling).

    Args:
        factors: Positive, one an image.
        generator: Where all randomness comes from.

    Returns:
        Indices in a random order. One that is expected x times comes floor(x) or ceil(x) times, on average x:
        LVIS rounds each factor at random, too, but then epochs differ in length.
    """
    number = len(factors)
    order = generator.permutation(number)
    borders = np.cumsum(factors[order])
    marks = (generator.random() + np.arange(number)) * (borders[-1] / number)
    drawn = order[np.searchsorted(borders, marks, side="right").clip(max=number - 1)]
    return np.asarray(generator.permutation(drawn), dtype=np.int64)
