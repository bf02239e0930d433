"""Predicts one image at a time with a trained segmenter, at the image's own size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modise_lightning.accelerator import automatic_device
from modise_lightning.data.loading.batches import pad_to_multiple
from modise_lightning.data.loading.transforms import EvaluationTransform
from modise_lightning.inference.inference import Inference, SemanticKind
from modise_lightning.inference.placement import place_prediction
from modise_lightning.segmenter import Segmenter
from modise_lightning.structures import Prediction


class Predictor:
    """Runs a segmenter on images as it was evaluated."""

    def __init__(
        self,
        segmenter: Segmenter,
        inference: Inference,
        *,
        transform: EvaluationTransform,
        size_multiple: int,
        device: str = "auto",
        semantic: SemanticKind = "classes",
    ) -> None:
        """Put the model on a device.

        Args:
            segmenter: A trained segmenter.
            inference: Output to predictions.
            transform: What an image is resized and trimmed with; the prediction is of the whole image.
            size_multiple: What the resized image is padded to a multiple of, in pixels.
            device: A torch device, or ``auto`` for an accelerator if there is one.
            semantic: What predictions show of each pixel; see ``Inference``.
        """
        self.device = automatic_device() if device == "auto" else torch.device(device)
        self.segmenter = segmenter.to(self.device).eval()
        self.inference = inference
        self.transform = transform
        self.size_multiple = size_multiple
        self.semantic = semantic

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32]) -> Prediction:
        """Predict one image.

        Args:
            image: (H, W) float32 in [0, 1], or (H, W, 3) in colours.

        Returns:
            Segments, instances and semantic map at (H, W).
        """
        resized, region = self.transform(image)
        height, width = resized.shape[-2:]
        padded = pad_to_multiple(resized[None], self.size_multiple).to(self.device)
        output = self.segmenter(padded, final_only=True)
        sizes = (padded.shape[-2], padded.shape[-1])
        (prediction,) = self.inference(
            output,
            sizes,
            [(height, width)],
            [(region.height, region.width)],
            padded,
            semantic=self.semantic,
        )
        return place_prediction(prediction, region, image.shape[0], image.shape[1])
