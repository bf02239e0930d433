"""Says of a run what its results must carry, so that tables can gather the right ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from modise_lightning.reporting.results import RunIdentity, Setting

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from modise_lightning.data.prepared.dataset import PreparedDataset

# Parts that every model of the paper takes pretrained, and does not train (Swin-L aside).
_PRETRAINED_PARTS = ("backbone", "captioner", "text.encoder")

# What changes a number without changing the trained weights, beside the rules of inference.
_MEASUREMENT = (
    "metrics.dice_reduction",
    "metrics.max_detections",
    "data.module.evaluation_transform.image_size",
    "data.module.evaluation_transform.shorter_side",
    "data.module.evaluation_transform.longer_side",
    "data.module.evaluation_transform.trim_background",
    "backbone.window_size",
    "data.channels",
    "backbone.frozen_precision",
    "clip_head.enabled",
    "clip_head.alpha",
    "clip_head.beta",
    "clip_head.template",
)


@dataclass(frozen=True)
class ModelOrigin:
    """What an evaluation has of another dataset's or vocabulary's classes.

    Attributes:
        trained_on: Name of the dataset that the model was trained on.
        unseen: Classes of which training had no text.
        vocabulary: Identifies texts that were named for the evaluation; None for the dataset's own.
        combination: How several models or views were combined; empty for one model alone.
        trained_on_sources: Names of the datasets that joint training data were made of; empty for others.
    """

    trained_on: str
    unseen: tuple[str, ...]
    vocabulary: str | None
    combination: Mapping[str, Setting] = field(default_factory=dict)
    trained_on_sources: tuple[str, ...] = ()


def run_identity(
    config: DictConfig,
    dataset: PreparedDataset,
    split: str,
    *,
    precision: str | None,
    origin: ModelOrigin | None = None,
) -> RunIdentity:
    """Gather it.

    Args:
        config: The composed training configuration.
        dataset: The dataset that was evaluated.
        split: Which images were evaluated: train, validation, test or all.
        precision: Of the Trainer that evaluated it; None where nothing is evaluated.
        origin: Of a model that was trained before; None for one that the configuration trains.
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
        num_normal_images=sum(entry.is_normal for entry in dataset.entries),
        num_folds=max(dataset.folds) + 1,
        data_split=OmegaConf.select(config, "data.split", default="folds"),
        split=split,
        fold=config.fold,
        measurement=_measurement(config) | {"trainer.precision": precision} | _of_origin(origin, dataset),
        unseen_categories=() if origin is None else origin.unseen,
    )


def _of_origin(origin: ModelOrigin | None, dataset: PreparedDataset) -> dict[str, Setting]:
    """Say what tables must not mix with a model of the dataset itself and with its own texts."""
    named: dict[str, Setting] = {}
    tested = sources_of(dataset.info)
    trained = tested if origin is None else origin.trained_on_sources
    if tested:
        named["data.sources"] = ", ".join(tested)
    if trained:
        named["trained_on_sources"] = ", ".join(trained)
    if origin is not None and origin.trained_on != dataset.info["name"]:
        named["trained_on"] = origin.trained_on
    if origin is not None and origin.vocabulary is not None:
        named["vocabulary"] = origin.vocabulary
    return named | (dict(origin.combination) if origin is not None else {})


def sources_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the datasets that joint data are made of, by what they say of themselves; else empty."""
    sources = info.get("sources")
    if not isinstance(sources, list):
        return ()
    return tuple(str(source.get("name")) for source in sources if isinstance(source, Mapping))


def _measurement(config: DictConfig) -> dict[str, Setting]:
    # The rule itself (its class) and all its numbers: how queries are selected, and what becomes of them.
    inference = OmegaConf.to_container(config.inference, resolve=True)
    assert isinstance(inference, dict)
    rules = {
        f"inference.{key!s}": value
        for key, value in inference.items()
        if key != "_partial_" and isinstance(value, bool | int | float | str | None)
    }
    start = OmegaConf.select(config, "init_fingerprint")
    started = {} if start is None else {"init_fingerprint": start}
    return rules | {key: OmegaConf.select(config, key) for key in _MEASUREMENT} | started | _normals(config)


def _normals(config: DictConfig) -> dict[str, Setting]:
    """Say which normal images took part; nothing without any, as in results of before."""
    normals = OmegaConf.select(config, "data.module.normals", default="none")
    if normals == "none":
        return {}
    share = {"data.normal_share": config.data.module.normal_share} if normals == "all" else {}
    return {"data.normals": normals, **share}
