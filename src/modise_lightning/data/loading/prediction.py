"""Gives the batches of images to predict: fixed groups of images, shared out over the processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from modise_lightning.data.loading.loader import TellingLoader
from modise_lightning.images_to_predict import ImagesToPredict


class PredictionDataModule(lightning.LightningDataModule):
    """Loads groups of images, each group a batch, whichever process predicts it."""

    def __init__(
        self,
        *,
        dataset: Dataset[Any],
        groups: Sequence[Sequence[int]],
        collate: Callable[[Sequence[Any]], ImagesToPredict],
        num_workers: int,
        pin_memory: bool,
    ) -> None:
        """Take what is loaded.

        Args:
            dataset: Gives the sample of an index.
            groups: Indices of each batch.
            collate: Samples to a batch.
            num_workers: Loader processes; 0 loads in this process.
            pin_memory: Load into page-locked memory, for a faster copy to a GPU.
        """
        super().__init__()
        self.dataset = dataset
        self.groups = groups
        self.collate = collate
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    def predict_dataloader(self) -> DataLoader[ImagesToPredict]:
        """Give this process's groups, every so many of all."""
        rank, number = 0, 1
        if self.trainer is not None:
            rank, number = self.trainer.global_rank, self.trainer.world_size
        # Batches are the samples of a data set: Lightning replaces samplers when it predicts.
        return telling_loader(
            _Batches(self.dataset, self.groups[rank::number], self.collate),
            num_workers=self.num_workers,
            batch_size=None,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
        )


class _Batches(Dataset[ImagesToPredict]):
    """Gives the batch of each group."""

    def __init__(
        self,
        dataset: Dataset[Any],
        groups: Sequence[Sequence[int]],
        collate: Callable[[Sequence[Any]], ImagesToPredict],
    ) -> None:
        self.dataset = dataset
        self.groups = groups
        self.collate = collate

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> ImagesToPredict:
        return self.collate([self.dataset[number] for number in self.groups[index]])


def telling_loader(dataset: Dataset[Any], *, num_workers: int, **options: Any) -> TellingLoader[Any]:  # noqa: ANN401
    """Make a loader whose processes use one thread each, since they fill the cores.

    Args:
        dataset: Gives the sample of an index.
        num_workers: Loader processes; 0 loads in this process.
        options: Of ``DataLoader``.
    """
    if num_workers:
        # OpenCV's threads do not survive a fork: a worker that then sets their number waits for ever.
        cv2.setNumThreads(1)
    return TellingLoader(dataset, num_workers=num_workers, worker_init_fn=_use_one_thread, **options)


def _use_one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
