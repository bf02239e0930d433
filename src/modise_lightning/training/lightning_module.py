"""The training loop's glue: steps, optimizer, logging and what goes into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from modise_lightning.images_to_predict import ImagesToPredict
from modise_lightning.inference.inference import Inference, SemanticKind
from modise_lightning.inference.placement import place_prediction
from modise_lightning.losses.annotated_classes import among_annotated
from modise_lightning.pretrained.weights import fingerprint
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import Batch, Prediction, Region
from modise_lightning.training.checkpoint import METADATA_KEY, check_state, trained_state, versions
from modise_lightning.training.optimization import OptimizerFactory


class SegmentationModule(lightning.LightningModule):
    """Trains a segmenter and predicts with it."""

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        criterion: nn.Module,
        inference: Inference,
        optimizer_factory: OptimizerFactory,
        metadata: Mapping[str, Any],
        seed: int,
    ) -> None:
        """Compose the parts.

        Args:
            segmenter: The network.
            criterion: Output and targets to a dict of losses with the weighted total under ``loss``.
            inference: Output to predictions.
            optimizer_factory: Builds the optimizer and its schedule.
            metadata: Plain values that go into every checkpoint (config, categories, dataset).
            seed: Of the points that processes beside the first one draw.
        """
        super().__init__()
        self.segmenter = segmenter
        self.criterion = criterion
        self.inference = inference
        self.optimizer_factory = optimizer_factory
        self.metadata = dict(metadata)
        self.seed = seed
        # Of images without ground truth: a value for each class and pixel takes time and memory.
        self.predicted_semantic: SemanticKind = "classes"
        # Checkpoints leave the frozen weights out; on_load_checkpoint checks the rest strictly.
        self.strict_loading = False

    @cached_property
    def _frozen_weights(self) -> str:
        return fingerprint(self)

    def on_train_epoch_start(self) -> None:
        """Let each process draw points of its own, which a resumed training draws again.

        All have the same seed, for the same weights at the start, and a checkpoint has the first one's state.
        """
        if self.global_rank > 0:
            own = [self.seed, self.current_epoch, self.global_rank]
            torch.manual_seed(int(np.random.SeedSequence(own).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Compute and log the losses of a batch."""
        losses: dict[str, Tensor] = self.criterion(self.segmenter(batch.images), batch.targets)
        self._log_losses("train", losses, len(batch.images))
        return losses["loss"]

    def validation_step(self, batch: Batch, batch_index: int) -> dict[str, list[Prediction]]:
        """Predict the images of a batch at their stored size."""
        return {"predictions": self.predict_batch(batch)}

    def test_step(self, batch: Batch, batch_index: int) -> dict[str, list[Prediction]]:
        """Predict the images of a batch at their stored size."""
        return {"predictions": self.predict_batch(batch)}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Predict the images of a batch at their stored size."""
        output = self.segmenter(batch.images, final_only=True)
        # As with the vocabulary of one dataset: an image is asked for what its source annotates.
        output = replace(output, class_logits=among_annotated(output.class_logits, batch.targets))
        height, width = batch.images.shape[-2:]
        regions = batch.regions or [Region(0, 0, record.height, record.width) for record in batch.records]
        sizes = [(region.height, region.width) for region in regions]
        predictions = self.inference(output, (height, width), batch.image_sizes, sizes, batch.images)
        return [
            place_prediction(prediction, region, record.height, record.width)
            for prediction, region, record in zip(predictions, regions, batch.records, strict=True)
        ]

    def predict_step(self, batch: ImagesToPredict, batch_index: int) -> list[Prediction]:
        """Predict images without ground truth, each at the size of its whole picture."""
        colours = [group.expand(-1, 3, -1, -1) for group in batch.groups]
        found: dict[int, Prediction] = {}
        outputs = self.segmenter.predict_groups(colours) if colours else []
        for images, members, output in zip(colours, batch.members, outputs, strict=True):
            regions = [batch.regions[position] for position in members]
            predictions = self.inference(
                output,
                (images.shape[-2], images.shape[-1]),
                [batch.image_sizes[position] for position in members],
                [(region.height, region.width) for region in regions],
                images,
                semantic=self.predicted_semantic,
            )
            for position, region, prediction in zip(members, regions, predictions, strict=True):
                height, width = batch.pictures[position].shape
                found[position] = place_prediction(prediction, region, height, width)
        return [found[position] for position in range(len(batch.numbers))]

    def _log_losses(self, split: str, losses: Mapping[str, Tensor], batch_size: int) -> None:
        shown = {f"{split}/{name}": losses[name].detach() for name in ("class", "mask", "dice")}
        self.log(f"{split}/loss", losses["loss"].detach(), prog_bar=True, batch_size=batch_size)
        self.log_dict(shown, batch_size=batch_size)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that advances with every optimizer step."""
        batch_size = getattr(getattr(self.trainer, "datamodule", None), "batch_size", None)
        images_per_step = None
        if batch_size is not None:
            images_per_step = batch_size * self.trainer.accumulate_grad_batches * self.trainer.world_size
        optimizer = self.optimizer_factory.optimizer(self.segmenter, images_per_step)
        total_steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.optimizer_factory.schedule(optimizer, total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen weights out, and say what the others were made with."""
        checkpoint["state_dict"] = trained_state(self, checkpoint["state_dict"])
        checkpoint[METADATA_KEY] = {
            **self.metadata,
            "versions": versions(),
            "frozen_weights": self._frozen_weights,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or of other frozen weights."""
        check_state(self, checkpoint)
