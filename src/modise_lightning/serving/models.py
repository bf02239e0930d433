"""The model behind the page, with its own classes or with others that a reader names."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modise_lightning.accelerator import automatic_device
from modise_lightning.prediction.folders.folder import FolderPrediction, Model
from modise_lightning.structures import Category
from modise_lightning.training.lightning_module import SegmentationModule


@dataclass(frozen=True)
class BuiltModel:
    """A network with what describes it.

    Attributes:
        module: In evaluation mode.
        model: Classes, transform and metadata.
    """

    module: SegmentationModule
    model: Model


class ServedModel:
    """Predicts for one reader after the other."""

    def __init__(
        self,
        build: Callable[[Sequence[Category] | None], BuiltModel],
        *,
        name: str,
        has_vocabulary: bool,
        vocabulary: Sequence[Category] | None,
        device: str,
    ) -> None:
        """Build the model with the classes that it begins with.

        Args:
            build: Gives the model for these classes, or with its own.
            name: Of the run.
            has_vocabulary: Whether other classes can be named.
            vocabulary: To begin with; None for its own.
            device: A torch device, or ``auto`` for an accelerator if there is one.
        """
        self.name = name
        self.has_vocabulary = has_vocabulary
        self._build = build
        self._device = automatic_device() if device == "auto" else torch.device(device)
        self._lock = threading.Lock()
        self.first = self._place(build(vocabulary))
        self._named: tuple[tuple[Category, ...], BuiltModel] | None = None

    def predict(
        self,
        vocabulary: Sequence[Category] | None,
        prepare: Callable[[Model], FolderPrediction],
        take: Callable[[Any, Sequence[Any]], None],
    ) -> tuple[Model, FolderPrediction]:
        """Predict what ``prepare`` plans, once whoever came before is done.

        Args:
            vocabulary: Classes to look for; None for those that the page began with.
            prepare: Plans the prediction.
            take: Is given each batch and its predictions before they are written.

        Raises:
            UserError: The classes cannot be named, or the images cannot be read.
        """
        with self._lock:
            built = self._for(vocabulary)
            prediction = prepare(built.model)
            if prediction.groups:
                with prediction.writing(lambda number: None) as write, torch.inference_mode():
                    for batch in prediction.data().predict_dataloader():
                        predictions = built.module.predict_step(batch.to(self._device), 0)
                        take(batch, predictions)
                        write(batch, predictions)
            return built.model, prediction

    def _for(self, vocabulary: Sequence[Category] | None) -> BuiltModel:
        if vocabulary is None:
            return self.first
        wanted = tuple(copy.copy(each) for each in vocabulary)
        if self._named is None or self._named[0] != wanted:
            self._named = None  # one model beside the first: the last that was asked for
            self._named = wanted, self._place(self._build(wanted))
        return self._named[1]

    def _place(self, built: BuiltModel) -> BuiltModel:
        built.module.to(self._device).eval()
        built.module.predicted_semantic = "any_thing"
        return built
