"""A training step by ODISE's procedure, with the weights of this library's segmenter.

ODISE computes one window after the other, each with its own captioner pass, all of the VAE and the UNet,
keeps weight gradients of the checkpointed UNet, and runs the pixel decoder in float32. The head is
transformers' Mask2Former, whose deformable attention is ``grid_sample``; ODISE's own is a CUDA extension, so
the step is also timed with this library's head behind ODISE's features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from diffusion_features import Odise
from gpu_parts.models import CLASSES, DiffusionWeights, TrainingStep
from modise_lightning.backbones.windows import merge_windows, split_into_windows
from modise_lightning.structures import (
    FeaturePyramid,
    MaskGeneratorOutput,
    PanopticSegmentation,
    SegmenterOutput,
)

WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


class OdiseStep:
    """Computes the features as ODISE does, then its head's loss or this library's."""

    def __init__(self, step: TrainingStep, weights: DiffusionWeights, *, own_head: bool) -> None:
        """Share the weights of a step.

        Args:
            step: This library's, with the segmenter, the criterion and the optimizer.
            weights: The whole diffusion model, parts of which are in the segmenter.
            own_head: Take this library's mask generator and criterion behind the features.
        """
        self.step = step
        self.odise = Odise(weights.unet, weights.vae)
        self.own_head = own_head
        if not own_head:
            generator = step.segmenter.mask_generator
            config: Any = generator.pixel_decoder.config
            config.num_labels = CLASSES
            channels = list(step.segmenter.backbone.feature_channels)
            self.pixel_decoder = Mask2FormerPixelDecoder(config, channels).to(step.device).train()
            self.pixel_decoder.load_state_dict(generator.pixel_decoder.state_dict())
            self.decoder = Mask2FormerTransformerModule(config.feature_size, config).to(step.device).train()
            self.decoder.load_state_dict(generator.transformer_module.state_dict())
            self.loss = Mask2FormerLoss(config, WEIGHTS).to(step.device)
            self.trained = [*self.pixel_decoder.parameters(), *self.decoder.parameters()]

    def __call__(self, images: Tensor, targets: list[PanopticSegmentation]) -> Tensor:
        """Run one step."""
        with self.step.autocast():
            pyramid = self._features(images)
            loss = self._own_loss(pyramid, targets) if self.own_head else self._their_loss(pyramid, targets)
        result = self.step.finish(loss.backward, loss)
        if not self.own_head:
            for parameter in self.trained:
                parameter.grad = None
        self.odise.forget()
        return result

    def _features(self, images: Tensor) -> FeaturePyramid:
        backbone: Any = self.step.segmenter.backbone
        size = backbone.window_size
        windows, offsets = split_into_windows(images, size)
        batch = len(images)
        by_place = windows.view(batch, -1, *windows.shape[1:]).transpose(0, 1)
        parts = [self._window(each) for each in by_place]  # each (batch, ...) of one place
        levels = [
            torch.stack([part.levels[level] for part in parts], dim=1).flatten(0, 1) for level in range(4)
        ]
        return merge_windows(FeaturePyramid(*levels), offsets, batch, (images.shape[-2], images.shape[-1]))

    def _window(self, images: Tensor) -> FeaturePyramid:
        backbone: Any = self.step.segmenter.backbone
        conditioning = self.step.segmenter.captioner(images)  # type: ignore[misc]
        taps = self.odise.features(
            images,
            backbone.unconditional_context + conditioning.context,
            conditioning.time_embedding[:, 0],
            training=True,
        )
        pyramid: FeaturePyramid = backbone.projection(taps, tuple(images.shape[-2:]))
        return pyramid

    def _own_loss(self, pyramid: FeaturePyramid, targets: list[PanopticSegmentation]) -> Tensor:
        masks = self.step.segmenter.mask_generator(pyramid)
        output = SegmenterOutput(
            self.step.segmenter.classifier(masks), masks.mask_embeddings, masks.mask_features
        )
        loss: Tensor = self.step.criterion(output, targets)["loss"]
        return loss

    def _their_loss(self, pyramid: FeaturePyramid, targets: list[PanopticSegmentation]) -> Tensor:
        with torch.autocast(self.step.device.type, enabled=False):
            pixels = self.pixel_decoder([level.float() for level in pyramid.levels])
        decoded = self.decoder(pixels.multi_scale_features, pixels.mask_features)
        states = torch.stack(decoded.intermediate_hidden_states).transpose(1, 2)
        embedder = self.decoder.decoder.mask_predictor.mask_embedder
        classes = self.step.segmenter.classifier(
            MaskGeneratorOutput(states, embedder(states), pixels.mask_features)
        ).float()
        masks = [each.float() for each in decoded.masks_queries_logits]
        with torch.autocast(self.step.device.type, enabled=False):
            losses = self.loss(
                masks[-1],
                classes[-1],
                [target.masks.float() for target in targets],
                [target.labels for target in targets],
                [
                    {"masks_queries_logits": mask, "class_queries_logits": score}
                    for mask, score in zip(masks[:-1], classes[:-1], strict=True)
                ],
            )
            weighted = [
                value * next(weight for key, weight in WEIGHTS.items() if name.startswith(key))
                for name, value in losses.items()
            ]
            return torch.stack([each.reshape(()) for each in weighted]).sum()
