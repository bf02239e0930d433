"""Writes runs of ``metrics=clinical`` without training: breasts of patients, lesions, normal images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cross_validation_runs import NAMES, identity, write_run_of
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

SETTINGS: dict[str, Any] = {
    "suspicious": ["malignant"],
    "case_levels": ["breast", "patient"],
    "hit_rules": ["mask_iou", "box_iou", "centre", "any_overlap"],
    "hit_threshold": 0.1,
    "false_positive_rates": [0.25, 1, 4],
    "low_rate": 0.1,
    "high_sensitivity": 0.9,
    "specificities": [0.9],
    "surface_tolerance_mm": 2.0,
    "surface_tolerance_pixels": 1.0,
    "strip_share": 0.02,
    "size_edges_mm": [5, 10],
    "size_edges_share": [0.1, 0.2],
    "confidence": 0.95,
}
SIZE = 24


def write_clinical_run(
    folder: Path,
    name: str,
    fold: int,
    shift: int,
    *,
    patients: int = 6,
    normals: bool = True,
    said: bool = True,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> EvaluationResult:
    """Measure predictions that are the truth, moved by some columns, and false positives with low scores.

    Args:
        folder: Of the run.
        name: Of the run.
        fold: Which patients.
        shift: Columns; more of them is a worse model.
        patients: How many, of two breasts and two views each.
        normals: Whether every second patient has no lesion.
        said: Whether the images say side, view, density and spacing.
        settings: Changes to ``SETTINGS``.
        changes: To the run's identity.
    """
    generator, noise = np.random.default_rng(fold), np.random.default_rng([fold, shift])
    images = []
    for patient in range(patients):
        healthy = normals and patient % 2 == 0
        for laterality in ("left", "right"):
            for view in ("CC", "MLO"):
                ids = np.zeros((SIZE, SIZE), np.int64)
                number = 0 if healthy else int(generator.integers(1, 3))
                for segment in range(1, number + 1):
                    top, left = generator.integers(0, 14, 2)
                    ids[top : top + int(generator.integers(4, 9)), left : left + 7] = segment
                labels = torch.from_numpy(generator.integers(0, 2, number))
                moved = np.roll(ids, shift + int(noise.integers(0, 3)), 1)
                false = np.zeros((SIZE, SIZE), bool)
                top, left = noise.integers(0, 20, 2)
                false[top : top + 4, left : left + 4] = True
                panoptic = PanopticSegmentation(torch.from_numpy(moved), labels, torch.ones(number))
                masks = torch.cat([panoptic.masks, torch.from_numpy(false)[None]])
                kept = masks.flatten(1).any(1)
                scores = torch.from_numpy(
                    np.append(noise.uniform(0.3, 1, number), noise.uniform(0, 0.6))
                ).float()
                own = torch.cat([labels, torch.tensor([1])])
                semantic = torch.zeros(2, SIZE, SIZE)
                for mask, label in zip(panoptic.masks, labels.tolist(), strict=True):
                    semantic[label][mask] = 1
                instances = InstanceSegmentation(masks[kept], own[kept], scores[kept])
                target = PanopticSegmentation(torch.from_numpy(ids), labels)
                image_id = 1000 * fold + len(images)
                description: dict[str, Any] = {}
                if said:
                    description = {"laterality": laterality, "view": view, "density": "ABCD"[patient % 4]}
                    description |= {"spacing_mm": (0.5, 0.5), "fold": fold}
                record = ImageRecord(
                    image_id, f"{image_id}.png", f"f{fold}p{patient}", SIZE, SIZE, **description
                )
                images.append((record, Prediction(panoptic, instances, semantic), target))
    clinical = ClinicalSettings(**{**SETTINGS, **(settings or {})})
    return write_run_of(folder, identity(name, fold, **changes), NAMES, images, clinical)
