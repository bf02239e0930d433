"""Builds the parts that a composed configuration describes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from modise_lightning.backbones.backbone import Backbone
from modise_lightning.backbones.windows import count_windows
from modise_lightning.configuration.command_line import instantiate
from modise_lightning.configuration.joint_data import find_members, is_joint, warn_of_shared_patients
from modise_lightning.configuration.ownership import wait_to_own
from modise_lightning.data.loading.datamodule import PanopticDataModule
from modise_lightning.data.prepared.categories import categories_from_config, categories_to_config
from modise_lightning.errors import UserError
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.inference.clip_head import ClipHead, apply_template, load_clip_head
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.pretrained.weights import IN_CHECKPOINT, locate
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import Category
from modise_lightning.text.prompts import flatten_prompts
from modise_lightning.training.lightning_module import SegmentationModule

_PARTS = ("backbone", "captioner", "text.encoder", "mask_generator")


def check_weights(config: DictConfig, with_text_encoder: bool = True) -> None:
    """Find the pretrained weights of every part, so that a missing one is told before anything is built.

    Args:
        config: Composed or stored training configuration.
        with_text_encoder: Whether texts will be encoded; a checkpoint has the embeddings of its own.

    Raises:
        UserError: Names the first part whose weights are nowhere, or a CLIP head that has no CLIP.
    """
    clip_head = OmegaConf.select(config, "clip_head.enabled")
    for part in _PARTS:
        if part == "text.encoder" and not (with_text_encoder or clip_head):
            continue
        node = OmegaConf.select(config, part)
        # A frozen part is not in checkpoints: its loader looks for a file of that name.
        if node is not None and "weights" in node and node.weights != IN_CHECKPOINT:
            locate(part=part, weights=node.weights, repository=node.repository, patterns=["*.json"])
    if clip_head and config.text.encoder is None:
        raise UserError(
            "clip_head: a learned classifier has no texts to compare with. Set inference/clip_head=none."
        )


def categories_of(config: DictConfig) -> tuple[Category, ...]:
    """Read the dataset's categories from the configuration."""
    return categories_from_config(cast(list[dict[str, Any]], OmegaConf.to_container(config.data.categories)))


def build_data(config: DictConfig) -> PanopticDataModule:
    """Build the data module; a dataset that can be made without a download is made if it is missing.

    Where the configuration has no categories, those of the dataset go into it, and so do the datasets that
    joint data is made of: what is built next and the checkpoints need them.
    """
    if is_joint(config):
        find_members(config)
        warn_of_shared_patients(config)
    index = Path(config.data.root) / "panoptic.json"
    if not index.is_file() and config.data.auto_prepare:
        with wait_to_own(index.parent, f"the preparation of '{index.parent}'"):
            if not index.is_file():  # another process may have made it meanwhile
                instantiate(config.data.preparer).prepare()
    data = cast(PanopticDataModule, instantiate(config.data.module))
    if config.data.categories is None:
        config.data.categories = categories_to_config(data.categories)
    return data


def takes_feature_store(config: DictConfig) -> bool:
    """Tell whether the backbone has frozen features that could be kept."""
    return "feature_store" in inspect.signature(get_object(config.backbone._target_)).parameters


def build_feature_store(config: DictConfig, data: PanopticDataModule) -> FeatureStore | None:
    """Build the feature store and tell it how many windows of images there will be; None for none.

    Raises:
        UserError: It would have no use with this backbone or this augmentation.
    """
    if config.feature_store.get("_target_") is None:
        return None
    if not takes_feature_store(config):
        raise UserError(
            "feature_store: this backbone has no frozen features that could be kept. Set feature_store=none."
        )
    versions = data.training_versions
    if versions is None:
        raise UserError(
            "feature_store: with this augmentation no training image is ever seen twice "
            "(data.module.train_transform: scale_range, brightness, contrast, elastic, gamma; copy_paste), "
            "so its features would be kept in vain. Add augmentation=cacheable, or set feature_store=none."
        )
    size = config.backbone.window_size
    crop = data.train_transform.crop_size
    evaluated = [*data.indices["validation"], *data.indices["test"]]
    records = (data.dataset.entries[index].record for index in evaluated)
    shapes = [
        *[(crop, crop)] * (versions * len(data.indices["train"])),
        *(data.evaluation_transform.resized(record.height, record.width) for record in records),
    ]
    store = cast(FeatureStore, instantiate(config.feature_store))
    enlarges = config.backbone.get("enlarge_small_images", False)
    store.expect(
        sum(
            1 if size is None else count_windows(*shape, min(size, *shape) if enlarges else size)
            for shape in shapes
        )
    )
    return store


def build_segmenter(
    config: DictConfig,
    text_state: Mapping[str, torch.Tensor] | None = None,
    feature_store: FeatureStore | None = None,
    categories: Sequence[Category] | None = None,
) -> Segmenter:
    """Build the network.

    Args:
        config: Composed training configuration.
        text_state: The classifier's text embeddings from a checkpoint; None encodes the prompts anew.
        feature_store: Where the features of frozen parts are kept; None computes them each time.
        categories: Classes of the classifier; None for those of the configuration.
    """
    stored = {} if feature_store is None else {"feature_store": feature_store}
    backbone: Backbone = instantiate(config.backbone, **stored)
    captioner: nn.Module | None = None
    if config.captioner.get("_target_") is not None:
        captioner = instantiate(config.captioner)(shape=backbone.conditioning_shape, **stored)
    mask_generator = instantiate(config.mask_generator)(feature_channels=backbone.feature_channels)
    classifier = _build_classifier(
        config, categories or categories_of(config), mask_generator.hidden_channels, text_state
    )
    return Segmenter(
        backbone=backbone, captioner=captioner, mask_generator=mask_generator, classifier=classifier
    )


def _build_classifier(
    config: DictConfig,
    categories: Sequence[Category],
    hidden_channels: int,
    text_state: Mapping[str, torch.Tensor] | None,
) -> nn.Module:
    target = config.text.classifier._target_
    parameters = inspect.signature(get_object(target)).parameters
    if ("text_embeddings" in parameters) != (config.text.encoder is not None):
        needs = "no text encoder" if "num_categories" in parameters else "a text encoder"
        raise UserError(f"text.encoder: {target} needs {needs}. Choose both with text=...")
    build = instantiate(config.text.classifier)
    if config.text.encoder is None:
        return cast(nn.Module, build(num_categories=len(categories), hidden_channels=hidden_channels))
    prompts, prompt_categories = flatten_prompts(categories)
    has_null = "null_embedding" in parameters
    embeddings: dict[str, torch.Tensor] = {}
    if text_state is None:
        encoder = instantiate(config.text.encoder)
        embeddings["text_embeddings"] = encoder(_templated(config, prompts))
        if has_null:
            embeddings["null_embedding"] = encoder([""])[0]
    else:
        embeddings["text_embeddings"] = text_state["text_embeddings"]
        if has_null:
            embeddings["null_embedding"] = text_state["null_embedding"]
    return cast(
        nn.Module,
        build(**embeddings, prompt_categories=prompt_categories, hidden_channels=hidden_channels),
    )


def _templated(config: DictConfig, texts: Sequence[str]) -> list[str]:
    return apply_template(OmegaConf.select(config, "text.template", default="{}"), texts)


def encode_texts(config: DictConfig, texts: Sequence[str]) -> torch.Tensor:
    """Encode texts of classes as the trained classification compares them, (P, D)."""
    embeddings: torch.Tensor = instantiate(config.text.encoder)(_templated(config, texts))
    return embeddings


def build_module(
    config: DictConfig,
    segmenter: Segmenter,
    dataset: Mapping[str, Any],
    data_fingerprint: str | None = None,
    training_texts: Sequence[str] | None = None,
) -> SegmentationModule:
    """Build the training module.

    Args:
        config: Composed training configuration.
        segmenter: The network.
        dataset: What the prepared dataset says of itself (name, synthetic, ...); goes into checkpoints.
        data_fingerprint: Of the images and their division; goes into checkpoints, to resume from them.
        training_texts: Of the classes in training, where they are no longer those of the configuration.
    """
    isthing = [category.isthing for category in categories_of(config)]
    return SegmentationModule(
        segmenter=segmenter,
        criterion=instantiate(config.criterion),
        inference=instantiate(config.inference)(
            isthing=isthing, clip_head=_build_clip_head(config, training_texts)
        ),
        optimizer_factory=instantiate(config.optimizer),
        metadata={
            "config": _storable(config),
            "dataset": dict(dataset),
            "data_fingerprint": data_fingerprint,
        },
        seed=config.seed,
    )


def _build_clip_head(config: DictConfig, training_texts: Sequence[str] | None) -> ClipHead | None:
    """Build the CLIP head of inference, with the texts of the categories; None for none."""
    settings = OmegaConf.select(config, "clip_head")
    if settings is None or not settings.enabled:
        return None
    source = config.text.encoder
    categories = categories_of(config)
    prompts, prompt_categories = flatten_prompts(categories)
    known = set(settings.training_texts or training_texts or prompts)
    return load_clip_head(
        weights=source.weights,
        repository=source.repository,
        files=source.files,
        seed=source.seed,
        architecture=cast(dict[str, Any], OmegaConf.to_container(source.architecture, resolve=True)),
        alpha=settings.alpha,
        beta=settings.beta,
        text_embeddings=instantiate(source)(apply_template(settings.template, prompts)),
        prompt_categories=prompt_categories,
        seen=[not known.isdisjoint(category.prompts) for category in categories],
    )


def _storable(config: DictConfig) -> str:
    """Give the configuration as YAML that means the same in another folder and outside a Hydra job.

    Other interpolations stay, so that a changed ``data.root`` also reaches what refers to it.
    """
    stored = copy.deepcopy(config)
    stored.name = config.name
    stored.output_dir = config.output_dir
    stored.data.root = str(Path(config.data.root).resolve())
    return OmegaConf.to_yaml(stored)


def build_metrics(config: DictConfig, class_agnostic: bool = False) -> SegmentationMetrics:
    """Build the metrics for the dataset's categories.

    Args:
        config: Composed or stored training configuration.
        class_agnostic: Whether some are also measured with all classes as one.
    """
    categories = categories_of(config)
    metrics = instantiate(config.metrics)(
        category_names=[category.name for category in categories],
        isthing=[category.isthing for category in categories],
        **({"class_agnostic": True} if class_agnostic else {}),
    )
    return cast(SegmentationMetrics, metrics)
