"""Says of a run what its results must carry, so that tables can gather the right ones."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from modise_lightning.reporting.results import RunIdentity

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.data.prepared_dataset import PreparedDataset

# Parts that every model of the paper takes pretrained, and does not train (Swin-L aside).
_PRETRAINED_PARTS = ("backbone", "captioner", "text.encoder")


def run_identity(config: DictConfig, dataset: PreparedDataset, split: str) -> RunIdentity:
    """Gather it.

    Args:
        config: The composed training configuration.
        dataset: The dataset that was evaluated.
        split: Which images were evaluated: train, validation, test or all.
    """
    # The info holds what a dataset was made with, the folds which image is in which.
    identity = json.dumps([dataset.info, dataset.folds], sort_keys=True)
    weights = {part: OmegaConf.select(config, f"{part}.weights") for part in _PRETRAINED_PARTS}
    return RunIdentity(
        name=config.name,
        experiment=OmegaConf.select(config, "experiment"),
        random_parts=tuple(part for part, origin in weights.items() if origin == "random"),
        matching=config.metrics.matching,
        dataset=config.data.name,
        synthetic=dataset.info["synthetic"],
        dataset_digest=hashlib.sha256(identity.encode()).hexdigest()[:12],
        num_dataset_images=len(dataset.folds),
        num_folds=max(dataset.folds) + 1,
        data_split=OmegaConf.select(config, "data.split", default="folds"),
        split=split,
        fold=config.fold,
    )
