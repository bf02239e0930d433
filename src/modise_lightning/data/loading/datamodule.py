"""Gives the batches of a prepared dataset: folds to splits, samplers and loaders."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Annotated, Any, Literal

import cv2
import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch.utils.data import DataLoader, Dataset, Sampler

from modise_lightning.data.loading.batches import Sample, collate
from modise_lightning.data.loading.copy_paste import CopyPaste, Donors
from modise_lightning.data.loading.loader import TellingCollate, TellingDataset, TellingLoader
from modise_lightning.data.loading.normals import place_normals
from modise_lightning.data.loading.repeat_factors import repeat_factors
from modise_lightning.data.loading.sampler import SeededSampler
from modise_lightning.data.loading.source_sampler import SourceSampler, SourceSampling
from modise_lightning.data.loading.split_images import EvaluationImages, TrainImages
from modise_lightning.data.loading.transforms import EvaluationTransform, TrainTransform
from modise_lightning.data.prepared.categories import categories_to_config
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.writing import Normals
from modise_lightning.errors import UserError
from modise_lightning.structures import Batch

Split = Literal["train", "validation", "test", "all"]
COARSEST_STRIDE = 32  # of a feature pyramid, in pixels
SPLITS: tuple[Split, ...] = ("train", "validation", "test", "all")


class PanopticDataModule(lightning.LightningDataModule):
    """One prepared dataset, split by folds of patients, or with the test images that its authors chose."""

    def __init__(
        self,
        *,
        dataset: PreparedDataset,
        fold: int,
        split: Literal["folds", "official"],
        train_transform: TrainTransform,
        evaluation_transform: EvaluationTransform,
        batch_size: int,
        evaluation_batch_size: int,
        num_workers: int,
        pin_memory: bool,
        size_multiple: PositiveInt,
        seed: int,
        normals: Normals = "none",
        normal_share: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        source_sampling: SourceSampling | None = None,
        copy_paste: CopyPaste | None = None,
        repeat_threshold: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        """Split the dataset.

        Args:
            dataset: What the images are read from.
            fold: The test fold; the next one is for validation, the others train. With the official split the
                test images are given, and of the others this fold is for validation.
            split: By folds alone, or with the official test images (each image's attribute ``split`` is
                ``test``, ``training``, or ``neither`` for an image that the official split leaves out).
            train_transform: Of training images, with their segments.
            evaluation_transform: Of the other images; their segments stay at the stored size.
            batch_size: Training images a step and process.
            evaluation_batch_size: Likewise for validation and test.
            num_workers: Loader processes; 0 loads in the training process.
            pin_memory: Load into page-locked memory, for a faster copy to a GPU.
            size_multiple: What the height and width of a batch are padded to multiples of, in pixels.
            seed: Of the order and the augmentation.
            normals: Which images take part of those that the index marks as normal: ``none``, those of
                validation and test (``evaluation``), or ``all``. Checkpoints of before do not say: none.
            normal_share: Of the images of a training epoch, with ``all``.
            source_sampling: How much of a training epoch each source of the images has; None: they are one.
            copy_paste: How lesions of training images are copied into others; None: not.
            repeat_threshold: Share of training images below which a class is shown more often, as LVIS does
                (``repeat_factors``); None: every image comes once an epoch.

        Raises:
            UserError: There is no such fold, a split has no images, normal ones are wanted and missing, or
                the multiple is not one of 32.
        """
        super().__init__()
        if size_multiple < 1 or size_multiple % COARSEST_STRIDE:
            raise UserError(
                f"data.module.size_multiple: {size_multiple}; it must be a multiple of {COARSEST_STRIDE}, "
                "the coarsest stride of a feature pyramid."
            )
        self.dataset = dataset
        self.categories = dataset.categories
        self.train_transform = train_transform
        self.evaluation_transform = evaluation_transform
        self.batch_size = batch_size
        self.evaluation_batch_size = evaluation_batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.size_multiple = size_multiple
        self.seed = seed
        self.normals = normals
        self.normal_share = normal_share
        if source_sampling is not None and repeat_threshold is not None:
            raise UserError(
                "sampling: repeat factors do not go with data=joint, whose sources are drawn by "
                "data.temperature. Leave one of them out."
            )
        self.source_sampling = source_sampling
        self.copy_paste = copy_paste
        self.repeat_threshold = repeat_threshold
        self.indices = place_normals(dataset, self._split(fold, split), normals)

    @property
    def training_versions(self) -> int | None:
        """How many different pictures training can see of one image; None if there is no limit."""
        return None if self.copy_paste is not None else self.train_transform.versions

    def fingerprint(self) -> str:
        """Give 16 hexadecimal digits that depend on the categories, the images and their division."""
        images = {
            split: [self.dataset.records[index].file_name for index in indices]
            for split, indices in self.indices.items()
        }
        described = json.dumps([images, categories_to_config(self.categories)], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def num_normals(self, split: Split) -> int:
        """Count the normal images of a split."""
        return sum(self.dataset.entries[index].is_normal for index in self.indices[split])

    def describe_normals(self, split: Split) -> str | None:
        """Say how many images of a split are normal; None for a dataset without any that is marked."""
        if not any(entry.is_normal for entry in self.dataset.entries):
            return None
        if self.normals == "none":
            return "normal images left out (data.normals=none)"
        return f"{self.num_normals(split)} of the {split} images normal (data.normals={self.normals})"

    def _split(self, fold: int, split: Literal["folds", "official"]) -> dict[str, list[int]]:
        folds = self.dataset.folds
        num_folds = max(folds) + 1
        if not 0 <= fold < num_folds:
            raise UserError(f"fold: {fold} is not one of the dataset's folds 0..{num_folds - 1}.")
        if num_folds < 3:
            raise UserError(
                f"data: '{self.dataset.root}' has {num_folds} folds; test, validation and training need 3."
            )
        left_out: list[int] = []
        if split == "official":
            official = self._official_splits()
            test = [index for index, own in enumerate(official) if own == "test"]
            left_out = [index for index, own in enumerate(official) if own == "neither"]
            validation_fold = fold
        else:
            test = [index for index, own in enumerate(folds) if own == fold]
            validation_fold = (fold + 1) % num_folds
        others = sorted(set(range(len(folds))) - set(test) - set(left_out))
        indices = {
            "train": [index for index in others if folds[index] != validation_fold],
            "validation": [index for index in others if folds[index] == validation_fold],
            "test": test,
            "all": list(range(len(folds))),
        }
        patients = {
            part: {self.dataset.records[index].patient_id for index in indices[part]}
            for part in ("train", "validation", "test")
        }
        for part, found in patients.items():
            if not found:
                raise UserError(
                    f"data: '{self.dataset.root}' has no {part} image: data.split={split}, fold={fold}."
                )
        shared = (
            (patients["train"] & patients["validation"])
            | (patients["train"] & patients["test"])
            | (patients["validation"] & patients["test"])
        )
        if shared:
            raise UserError(
                f"data: the patients {sorted(shared)[:3]} of '{self.dataset.root}' are in several folds."
            )
        return indices

    def _official_splits(self) -> list[str]:
        """Read to which official split each image belongs."""
        splits = [str(entry.attributes.get("split")) for entry in self.dataset.entries]
        for record, own in zip(self.dataset.records, splits, strict=True):
            if own not in ("training", "test", "neither"):
                raise UserError(
                    f"data.split: 'official', but the index of '{self.dataset.root}' does not say whether "
                    f"{record.file_name} is for training or test. Take data.split=folds."
                )
        return splits

    def train_dataloader(self) -> DataLoader[Batch]:
        """Give shuffled, augmented training batches; incomplete ones are left out."""
        sampler = self.training_sampler()
        if len(sampler) < self.batch_size:
            raise UserError(
                f"data.module.batch_size is {self.batch_size}, but a process has only {len(sampler)} "
                "training images."
            )
        return self._loader(self.training_images(), sampler, self.batch_size, drop_last=True)

    def training_images(self) -> TrainImages:
        """Give what training sees of each image, by (position, seed)."""
        indices = self.indices["train"]
        donors = None if self.copy_paste is None else Donors(self.dataset, indices, self.copy_paste)
        return TrainImages(self.dataset, indices, self.train_transform, donors)

    def _repeat_factors(self, number: int) -> NDArray[np.float64] | None:
        if self.repeat_threshold is None:
            return None
        labels = [self.dataset.segment_labels(index) for index in self.indices["train"][:number]]
        return repeat_factors(labels, self.repeat_threshold)

    def times_an_epoch(self) -> list[float]:
        """Say how often an epoch shows each training image on average."""
        return self.training_sampler().times_an_epoch()

    def training_sampler(self) -> SeededSampler | SourceSampler:
        """Give the order of this process's training images, epoch by epoch."""
        if self.source_sampling is not None:
            records = [self.dataset.records[index] for index in self.indices["train"]]
            return SourceSampler(
                sources=[record.source or "" for record in records],
                sampling=self.source_sampling,
                seed=self.seed,
                **self._processes(),
            )
        normals = self.num_normals("train")
        length = len(self.indices["train"]) - normals
        return SeededSampler(
            length=length,
            seed=self.seed,
            others=normals,
            share=self.normal_share,
            factors=self._repeat_factors(length),
            **self._processes(),
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Give the validation images, each once."""
        return self.evaluation_dataloader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Give the test images, each once."""
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: Split) -> DataLoader[Batch]:
        """Give the images of any split, each once, over all processes."""
        processes = self._processes()
        own = self.indices[split][processes["rank"] :: processes["world_size"]]
        dataset = EvaluationImages(self.dataset, own, self.evaluation_transform)
        return self._loader(dataset, None, self.evaluation_batch_size, drop_last=False)

    def _processes(self) -> dict[str, int]:
        if self.trainer is None:
            return {"rank": 0, "world_size": 1}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def _loader(
        self, dataset: Dataset[Sample], sampler: Sampler[Any] | None, batch_size: int, drop_last: bool
    ) -> DataLoader[Batch]:
        if self.num_workers:
            # OpenCV's threads do not survive a fork: a worker that then sets their number waits for ever.
            cv2.setNumThreads(1)
        return TellingLoader(
            TellingDataset(dataset),  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            drop_last=drop_last,
            collate_fn=TellingCollate(partial(collate, size_multiple=self.size_multiple)),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_use_one_thread,
            # Its own generator, so that starting an epoch draws nothing from the global one (exact resume).
            generator=torch.Generator().manual_seed(self.seed),
        )


def _use_one_thread(worker: int) -> None:
    """Keep OpenCV to one thread in a loader process, as torch does; the processes already fill the cores."""
    cv2.setNumThreads(1)
