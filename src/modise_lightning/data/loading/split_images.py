"""The images of a split as training and evaluation see them, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from modise_lightning.data.loading.batches import Sample
from modise_lightning.data.loading.copy_paste import Donors
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.prepared.dataset import PreparedDataset


class TrainImages(Dataset[Sample]):
    """Augmented images by (position, seed)."""

    def __init__(
        self,
        dataset: PreparedDataset,
        indices: Sequence[int],
        transform: TrainTransform,
        donors: Donors | None,
    ) -> None:
        """Set what is read, and what is done to it."""
        self.dataset = dataset
        self.indices = indices
        self.transform = transform
        self.donors = donors

    def __len__(self) -> int:
        """Give the number of images."""
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Give an image as a step sees it; the seed decides all that is random."""
        position, seed = key
        index = self.indices[position]
        example = self.dataset.read_input(index), self.dataset.read_target(index)
        if self.donors is not None:
            example = self.donors.give(index, example, seed)
        image, target, size = self.transform(*example, np.random.default_rng(seed))
        return image, target, size, self.dataset.entries[index].record, None


class EvaluationImages(Dataset[Sample]):
    """Whole images with their segments at the stored size."""

    def __init__(
        self, dataset: PreparedDataset, indices: Sequence[int], transform: EvaluationTransform
    ) -> None:
        """Set what is read, and how large the network sees it."""
        self.dataset = dataset
        self.indices = indices
        self.transform = transform

    def __len__(self) -> int:
        """Give the number of images."""
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        """Give an image, and where it lies in the stored one."""
        index = self.indices[position]
        image, region = self.transform(self.dataset.read_input(index))
        size = (image.shape[1], image.shape[2])
        return image, self.dataset.read_target(index), size, self.dataset.entries[index].record, region
