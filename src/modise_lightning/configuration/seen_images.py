"""Refuses to evaluate an ensemble on images that one of its members has seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from modise_lightning.configuration.ensembles import TrainedEnsemble
from modise_lightning.configuration.run_identity import sources_of
from modise_lightning.configuration.trained_model import TrainedModel
from modise_lightning.data.loading.datamodule import PanopticDataModule, Split
from modise_lightning.errors import UserError

_ELSEWHERE = (
    "an ensemble is evaluated on images that no member has seen: an official test set (data.split=official "
    "in training), or another dataset (data=NAME)"
)


def check_unseen(ensemble: TrainedEnsemble, data: PanopticDataModule, split: Split) -> None:
    """Check that no member has seen an image of the split.

    A checkpoint says which fold of which images it was tested on. Seen are its training images and those of
    validation, by which it was chosen; of the latter not where just they are evaluated.

    Args:
        ensemble: With as many members as were named.
        data: What is evaluated.
        split: Which of its images.

    Raises:
        UserError: A member has seen some, or it is not known which it has.
    """
    names = {data.dataset.records[index].file_name for index in data.indices[split]}
    for path, member in zip(ensemble.paths, ensemble.members, strict=True):
        both = sorted(names & seen_images(path, member, data, split))
        if both:
            raise UserError(
                f"checkpoint: '{path}' (fold {member.training.fold}) has seen {len(both)} of the "
                f"{len(names)} {split} images in training or validation, e.g. {both[0]}; {_ELSEWHERE}."
            )


def seen_images(path: Path, member: TrainedModel, data: PanopticDataModule, split: Split) -> set[str]:
    """Name the images of a dataset that a model was trained on or chosen by.

    Args:
        path: Its checkpoint, for messages.
        member: The model.
        data: The dataset.
        split: What is evaluated of it.

    Raises:
        UserError: It was trained on a dataset of this name, or one in common, that is another one.
    """
    one, other = member.dataset, data.dataset.info
    if not _names(one) & _names(other) or _other_seed(one, other):
        return set()
    division = _division(member, data)
    if division is not None:
        parts: tuple[Split, ...] = ("train",) if split == "validation" else ("train", "validation")
        return {data.dataset.records[index].file_name for part in parts for index in division.indices[part]}
    raise UserError(
        f"checkpoint: '{path}' was trained on a dataset '{member.dataset['name']}', but not on the one in "
        f"'{data.dataset.root}' as it is now, so which of its images it has seen is not known; {_ELSEWHERE}."
    )


def _division(member: TrainedModel, data: PanopticDataModule) -> PanopticDataModule | None:
    """Divide the dataset as the member's training did; None if that was of other images."""
    stored = member.training
    fingerprint = member.data_fingerprint
    if fingerprint is None:
        return None
    try:
        division = PanopticDataModule(
            dataset=data.dataset,
            fold=stored.fold,
            split=OmegaConf.select(stored, "data.module.split", default="folds"),
            train_transform=data.train_transform,
            evaluation_transform=data.evaluation_transform,
            batch_size=data.batch_size,
            evaluation_batch_size=data.evaluation_batch_size,
            num_workers=0,
            pin_memory=False,
            size_multiple=data.size_multiple,
            seed=data.seed,
            normals=OmegaConf.select(stored, "data.module.normals", default="none"),
            normal_share=data.normal_share,
        )
    except UserError:  # it cannot be divided so
        return None
    return division if division.fingerprint() == fingerprint else None


def _names(info: Mapping[str, Any]) -> set[str]:
    """Name a dataset, and those that it is made of if it is several together."""
    return {str(info["name"]), *sources_of(info)}


def _other_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether both are phantoms, of other random numbers: no image is in both."""
    seeds = []
    for info in (one, other):
        parameters = info.get("parameters")
        seeds.append(parameters.get("seed") if info["synthetic"] and isinstance(parameters, dict) else None)
    return None not in seeds and seeds[0] != seeds[1]
