"""Runs a model over a split once for each choice of views, and counts what all settings find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from modise_lightning.data.loading.datamodule import PanopticDataModule, Split
from modise_lightning.errors import UserError
from modise_lightning.inference.fusion import FusionSettings
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.patients.statistics import Values, sum_by_patient
from modise_lightning.structures import Batch, Region
from modise_lightning.training.ensemble_module import EnsembleModule
from modise_lightning.training.lightning_module import SegmentationModule
from modise_lightning.tuning.choice import CandidateCounts
from modise_lightning.tuning.rethresholding import count_image, segment
from modise_lightning.tuning.settings import Candidate

Track = Callable[[Iterable[Batch]], Iterable[Batch]]


def count_split(
    module: SegmentationModule,
    data: PanopticDataModule,
    split: Split,
    candidates: Sequence[Candidate],
    *,
    fusion: FusionSettings,
    metrics: SegmentationMetrics,
    iou_threshold: float,
    device: torch.device,
    track: Track,
) -> CandidateCounts:
    """Count what all settings find in a split.

    Args:
        module: A trained model.
        data: Its dataset.
        split: Which images.
        candidates: S settings.
        fusion: How views are combined.
        metrics: How segments are matched.
        iou_threshold: At which.
        device: Where the network runs.
        track: Shows the progress of batches.

    Raises:
        UserError: The dataset does not say whose images they are.
    """
    records = [data.dataset.records[index] for index in data.indices[split]]
    if not all(record.patient_id for record in records):
        raise UserError(f"runs: '{data.dataset.root}' does not name its patients, who are resampled.")
    of_image = np.empty((len(records), len(candidates), 4, len(data.categories)))
    for flips in dict.fromkeys(candidate.flips for candidate in candidates):
        own = [index for index, candidate in enumerate(candidates) if candidate.flips == flips]
        chosen = [candidates[index] for index in own]
        ensemble = EnsembleModule(
            members=[module],
            views=chosen[0].views.views,
            fusion=fusion,
            size_multiple=data.size_multiple,
        )
        ensemble.to(device).eval()
        rows = (
            row
            for batch in track(data.evaluation_dataloader(split))
            for row in _count_batch(ensemble, batch.to(device), chosen, metrics, iou_threshold)
        )
        for place, row in zip(of_image, rows, strict=True):
            place[own] = row
    patients, counts = sum_by_patient([record.patient_id for record in records], of_image)
    return CandidateCounts(patients, counts)


def _count_batch(
    ensemble: EnsembleModule,
    batch: Batch,
    candidates: Sequence[Candidate],
    metrics: SegmentationMetrics,
    iou_threshold: float,
) -> list[Values]:
    regions = batch.regions or [Region(0, 0, record.height, record.width) for record in batch.records]
    with torch.inference_mode():
        combined = ensemble.combine(
            [batch.images], [list(range(len(regions)))], batch.image_sizes, regions, "none", batch.targets
        )
        how: dict[str, Any] = {
            "num_categories": len(metrics.category_names),
            "threshold": iou_threshold,
            "matching": metrics.matching,
        }
        return [
            count_image(segment(image, candidates), target, region, **how)
            for image, target, region in zip(combined, batch.targets, regions, strict=True)
        ]
