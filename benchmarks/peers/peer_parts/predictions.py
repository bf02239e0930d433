"""Predictions of one image as a file that any model's process can write: ``KEY.npz``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PredictedImage:
    """What a model says of an image, at the stored image's size.

    Attributes:
        masks: (N, H, W) bool, instances; they may overlap.
        labels: (N,) int64 class of each in the prepared dataset.
        scores: (N,) float in [0, 1].
        segments: (H, W) int32, panoptic: 0, or the segment 1..M.
        segment_labels: (M,) int64.
        segment_scores: (M,) float in [0, 1].
        semantic: (H, W) float in [0, 1] of each class that the model knows.
    """

    masks: NDArray[np.bool_]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    segments: NDArray[np.int32]
    segment_labels: NDArray[np.int64]
    segment_scores: NDArray[np.float32]
    semantic: dict[int, NDArray[np.float32]]


def write_prediction(path: Path, image: PredictedImage) -> None:
    """Write a prediction."""
    np.savez_compressed(
        path,
        masks=np.packbits(image.masks, axis=-1),
        width=np.array(image.segments.shape[1]),
        labels=image.labels,
        scores=image.scores,
        segments=image.segments.astype(np.uint16),
        segment_labels=image.segment_labels,
        segment_scores=image.segment_scores,
        semantic_labels=np.array(list(image.semantic), dtype=np.int64),
        semantic=np.stack(list(image.semantic.values())).astype(np.float16),
    )


def read_prediction(path: Path) -> PredictedImage:
    """Read what ``write_prediction`` wrote; semantic values were rounded to half precision."""
    with np.load(path, allow_pickle=False) as stored:
        masks = np.unpackbits(stored["masks"], axis=-1, count=int(stored["width"])).astype(bool)
        maps = stored["semantic"].astype(np.float32)
        semantic = {int(index): values for index, values in zip(stored["semantic_labels"], maps, strict=True)}
        return PredictedImage(
            masks=masks,
            labels=stored["labels"],
            scores=stored["scores"],
            segments=stored["segments"].astype(np.int32),
            segment_labels=stored["segment_labels"],
            segment_scores=stored["segment_scores"],
            semantic=semantic,
        )
