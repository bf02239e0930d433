"""Writes the prediction of one image: an overlay, a panoptic id map, and its segments as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modise_lightning.reporting.files import write_json_atomically, write_png_atomically
from modise_lightning.reporting.overlay import draw_overlay
from modise_lightning.structures import Category, Prediction

SYNTHETIC_NOTICE = (
    "The model was trained on synthetic phantom images; its predictions say nothing about patients."
)


@dataclass(frozen=True)
class PredictionFiles:
    """The files of one image's prediction."""

    overlay: Path
    panoptic: Path
    json: Path


def export_prediction(
    folder: Path,
    stem: str,
    image: NDArray[np.float32],
    prediction: Prediction,
    categories: Sequence[Category],
    *,
    source: str,
    metadata: Mapping[str, Any],
    synthetic_training_data: bool,
) -> PredictionFiles:
    """Write ``<stem>_overlay.png``, ``<stem>_panoptic.png`` (COCO: id = R + 256 G + 65536 B) and ``<stem>.json``.

    Args:
        folder: Where they go; made if it is missing.
        stem: Begins the file names; no folders.
        image: (H, W) in [0, 1].
        prediction: At (H, W).
        categories: Names and colours of the classes.
        source: Name of the image file.
        metadata: Plain values about the model, for the JSON.
        synthetic_training_data: Whether the JSON warns that the model knows only phantoms.

    Raises:
        ValueError: The stem is not a plain file name.
    """
    if not stem or Path(stem).name != stem:
        raise ValueError(f"'{stem}' is not a plain file name.")
    files = PredictionFiles(
        overlay=folder / f"{stem}_overlay.png",
        panoptic=folder / f"{stem}_panoptic.png",
        json=folder / f"{stem}.json",
    )
    panoptic = prediction.panoptic
    ids = panoptic.segment_ids.cpu().numpy()
    id_map = np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], axis=-1).astype(np.uint8)
    write_png_atomically(files.overlay, draw_overlay(image, panoptic, categories))
    write_png_atomically(files.panoptic, id_map)
    content: dict[str, Any] = {
        "image": source,
        "height": image.shape[0],
        "width": image.shape[1],
        **({"notice": SYNTHETIC_NOTICE} if synthetic_training_data else {}),
        "model": dict(metadata),
        "categories": [category.name for category in categories],
        "segments": [
            {"id": index + 1, **_describe(mask, label, score, categories)}
            for index, (mask, label, score) in enumerate(
                zip(panoptic.masks, panoptic.labels, _scores(panoptic.scores, panoptic.labels), strict=True)
            )
        ],
        "instances": [
            _describe(mask, label, float(score), categories)
            for mask, label, score in zip(
                prediction.instances.masks,
                prediction.instances.labels,
                prediction.instances.scores,
                strict=True,
            )
        ],
    }
    write_json_atomically(files.json, content)
    return files


def _scores(scores: Tensor | None, labels: Tensor) -> list[float | None]:
    return [None] * len(labels) if scores is None else [float(score) for score in scores]


def _describe(
    mask: Tensor, label: Tensor, score: float | None, categories: Sequence[Category]
) -> dict[str, Any]:
    """Give class, score, box (x, y, width, height) and area in pixels."""
    rows, columns = (torch.nonzero(mask.any(axis)).flatten() for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "category": categories[int(label)].name,
        "score": None if score is None else round(score, 4),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "area": int(mask.sum()),
    }
