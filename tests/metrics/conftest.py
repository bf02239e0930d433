"""Random pairs of segmentations that overlap in many ways."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from modise_lightning.structures import PanopticSegmentation

Pair = tuple[PanopticSegmentation, PanopticSegmentation]


def _rectangles(generator: np.random.Generator, ids: np.ndarray, num_segments: int) -> None:
    height, width = ids.shape
    for segment in range(1, num_segments + 1):
        top, left = generator.integers(0, height - 2), generator.integers(0, width - 2)
        bottom, right = generator.integers(top + 1, height + 1), generator.integers(left + 1, width + 1)
        ids[top:bottom, left:right] = segment


def _make_pair(
    seed: int, num_segments: int = 5, num_categories: int = 3, size: int = 16, void: bool = True
) -> Pair:
    """Make truth from rectangles; a prediction from the same ones, shifted, some relabelled, and more."""
    generator = np.random.default_rng(seed)
    true_ids = np.zeros((size, size), np.int64)
    num_true = int(generator.integers(0, num_segments + 1))
    _rectangles(generator, true_ids, num_true)
    predicted_ids = np.roll(true_ids, generator.integers(-2, 3, 2), (0, 1))
    num_predicted = int(generator.integers(num_true, num_segments + 1))
    for segment in range(num_true + 1, num_predicted + 1):
        top, left = generator.integers(0, size - 4, 2)
        predicted_ids[top : top + 5, left : left + 5] = segment
    if void:
        top, left = generator.integers(0, size - 4, 2)
        true_ids[top : top + 4, left : left + generator.integers(1, 10)] = -1
    true_labels = generator.integers(0, num_categories, num_true)
    predicted_labels = np.concatenate([true_labels, generator.integers(0, num_categories, num_predicted)])
    wrong = generator.random(len(predicted_labels)) < 0.2
    predicted_labels = np.where(wrong, generator.integers(0, num_categories), predicted_labels)[
        :num_predicted
    ]
    scores = torch.from_numpy(generator.random(num_predicted)).float()
    return (
        PanopticSegmentation(torch.from_numpy(predicted_ids), torch.from_numpy(predicted_labels), scores),
        PanopticSegmentation(torch.from_numpy(true_ids), torch.from_numpy(true_labels)),
    )


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Pair]:
    return _make_pair
