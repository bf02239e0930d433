"""Rebuilds a trained model from its checkpoint, with its own classes or with others that are named now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf, open_dict

from modise_lightning.classifiers.text_similarity import TextSimilarityClassifier
from modise_lightning.configuration.assembly import (
    build_module,
    build_segmenter,
    categories_of,
    check_weights,
    encode_texts,
    takes_feature_store,
)
from modise_lightning.configuration.joint_data import find_members, is_joint
from modise_lightning.configuration.model_files import read_model
from modise_lightning.configuration.stored_config import read_stored_config
from modise_lightning.data.prepared.categories import categories_to_config
from modise_lightning.errors import UserError
from modise_lightning.feature_store.store import FeatureStore
from modise_lightning.inference.tuned_settings import TunedSettings
from modise_lightning.structures import Category
from modise_lightning.text.prompts import flatten_prompts
from modise_lightning.training.checkpoint import METADATA_KEY, check_state
from modise_lightning.training.lightning_module import SegmentationModule

_CLASSIFIER = "segmenter.classifier."


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint that was read and checked, and of which nothing was built yet.

    Attributes:
        config: What the model is rebuilt from; whoever builds it may change dataset and classes before.
        categories: The classes of its training.
        dataset: What the training dataset said of itself.
        checkpoint: As it was read.
        training: The configuration of its training, without changes.
        tuned: Settings that came with it in a package.
    """

    config: DictConfig
    categories: tuple[Category, ...]
    dataset: dict[str, Any]
    checkpoint: dict[str, Any]
    training: DictConfig
    tuned: TunedSettings

    @property
    def data_fingerprint(self) -> str | None:
        """Of the images of its training and their division; None where it is not known."""
        found = self.checkpoint[METADATA_KEY].get("data_fingerprint")
        return found if isinstance(found, str) else None

    @property
    def training_texts(self) -> list[str]:
        """Texts of the classes of its training."""
        return flatten_prompts(self.categories)[0]

    def unseen(self) -> tuple[str, ...]:
        """Name the classes that it will look for and of which training had no text."""
        if self.config.text.encoder is None:
            return ()
        known = set(self.training_texts)
        return tuple(each.name for each in categories_of(self.config) if known.isdisjoint(each.prompts))

    def name_classes(self, categories: Sequence[Category]) -> None:
        """Look for these classes instead of the checkpoint's own.

        Raises:
            UserError: The classes are fixed, as a layer has learned them.
        """
        if self.config.text.encoder is None and [each.name for each in categories] != [
            each.name for each in self.categories
        ]:
            names = ", ".join(category.name for category in self.categories)
            raise UserError(
                f"vocabulary: this model has a learned classifier, whose classes are fixed: {names}. One "
                "that compares masks with texts (text=clip, text=biomedclip) takes others."
            )
        with open_dict(self.config):
            self.config.data.categories = categories_to_config(categories)

    def use_dataset(self, data: DictConfig) -> None:
        """Read the images of another dataset than that of the training; their geometry stays the model's.

        Args:
            data: The dataset's part of a configuration; it may refer to other parts of it.
        """
        stored = self.config.data
        other = OmegaConf.create({"data": OmegaConf.to_container(data, resolve=False)}).data
        with open_dict(self.config):
            module = OmegaConf.to_container(stored.module, resolve=False)
            assert isinstance(module, dict)
            module["dataset"] = OmegaConf.to_container(other.module.dataset, resolve=False)
            module.pop("source_sampling", None)  # of training
            other.module = module
            other.trim_background = OmegaConf.select(stored, "trim_background", default=False)
            self.config.data = other
        if is_joint(self.config):
            self._keep_classes()

    def _keep_classes(self) -> None:
        """Ask for the classes of the training where they are all that the joint data annotates."""
        find_members(self.config)
        shared = {name for member in self.config.data.members for name in member.classes.values() if name}
        if shared <= {category.name for category in self.categories}:
            self.config.data.categories = categories_to_config(self.categories)

    def build(self, feature_store: FeatureStore | None = None) -> SegmentationModule:
        """Build the model and fill in its trained weights.

        Args:
            feature_store: Where the features of its frozen parts are kept, if it has some that can be.

        Raises:
            UserError: Frozen weights are nowhere, or the checkpoint does not fit.
        """
        state = self.checkpoint["state_dict"]
        text_state = {key.removeprefix(_CLASSIFIER): value for key, value in state.items()}
        prompts, prompt_categories = flatten_prompts(categories_of(self.config))
        is_by_text = "text_embeddings" in text_state
        unknown = [text for text in prompts if text not in set(self.training_texts)] if is_by_text else []
        check_weights(self.config, with_text_encoder=bool(unknown))
        try:
            segmenter = build_segmenter(
                self.config,
                text_state if is_by_text else None,
                feature_store if takes_feature_store(self.config) else None,
                self.categories,
            )
        except InstantiationException as error:  # of whatever a part raises on values that no type tells
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise UserError(f"checkpoint: its model cannot be built ({reason}).") from error
        module = build_module(self.config, segmenter, self.dataset, training_texts=self.training_texts)
        check_state(module, self.checkpoint)
        module.load_state_dict(state, strict=False)
        if is_by_text:
            self._set_vocabulary(module, prompts, prompt_categories, unknown)
        return module.eval()

    def _set_vocabulary(
        self,
        module: SegmentationModule,
        prompts: list[str],
        prompt_categories: torch.Tensor,
        unknown: list[str],
    ) -> None:
        """Take the embeddings of texts that the checkpoint has from it, and encode the others."""
        if prompts == self.training_texts:
            return
        classifier = module.segmenter.classifier
        assert isinstance(classifier, TextSimilarityClassifier)
        embeddings = dict(zip(self.training_texts, classifier.text_embeddings, strict=True))
        if unknown:
            embeddings |= zip(unknown, encode_texts(self.config, unknown), strict=True)
        classifier.set_vocabulary(torch.stack([embeddings[text] for text in prompts]), prompt_categories)


def read_trained(
    path: Path, overrides: Mapping[str, Any], trusted_targets: Sequence[str] = ()
) -> TrainedModel:
    """Read a checkpoint or a package without building anything.

    Args:
        path: A checkpoint of a run, or a package, whose tuned settings hold unless ``overrides`` say other.
        overrides: Nested changes to the configuration in the checkpoint.
        trusted_targets: Plug-ins that it may name; otherwise nothing but parts of this library is built.

    Raises:
        UserError: The checkpoint is missing or damaged, names what it may not, or is of another version.
    """
    checkpoint, tuned = read_model(path)
    metadata = checkpoint[METADATA_KEY]
    config = read_stored_config(path, metadata["config"], tuned.with_overrides(overrides), trusted_targets)
    before = read_stored_config(path, metadata["config"], {}, trusted_targets)
    dataset = cast(dict[str, Any], metadata["dataset"])
    return TrainedModel(config, categories_of(before), dataset, checkpoint, before, tuned)


def load_trained(
    path: Path, overrides: Mapping[str, Any], trusted_targets: Sequence[str] = ()
) -> tuple[SegmentationModule, DictConfig, dict[str, Any]]:
    """Rebuild a trained model from nothing but its checkpoint (and its frozen parts' published weights).

    Args:
        path: A checkpoint of a run.
        overrides: Nested changes to the configuration in the checkpoint.
        trusted_targets: Plug-ins that it may name; otherwise nothing but parts of this library is built.

    Returns:
        The module, the configuration, and what the training dataset said of itself.

    Raises:
        UserError: The checkpoint is missing or damaged, names what it may not, is of another version, or does
            not fit.
    """
    trained = read_trained(path, overrides, trusted_targets)
    return trained.build(), trained.config, trained.dataset
