"""Images with predictions, patients, sides, views and spacings, and their clinical records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.records.recorder import EvaluationRecorder
from modise_lightning.metrics.segments.matching import Matching
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

NAMES = ["benign", "malignant", "calcification"]
ISTHING = [True, True, True]
Images = list[tuple[ImageRecord, Prediction, PanopticSegmentation]]

SETTINGS = ClinicalSettings(
    suspicious=["malignant"],
    case_levels=["breast", "patient"],
    hit_rules=["mask_iou", "box_iou", "centre", "any_overlap"],
    hit_threshold=0.2,
    false_positive_rates=[0.5, 1, 4],
    low_rate=0.1,
    high_sensitivity=0.9,
    specificities=[0.5, 0.9],
    surface_tolerance_mm=0.2,
    surface_tolerance_pixels=1.0,
    strip_share=0.02,
    size_edges_mm=[0.5, 1],
    size_edges_share=[0.2, 0.4],
    confidence=0.95,
)


def make_images(make_pair: Callable[..., Any], seed: int, num_images: int = 4) -> Images:
    """Two images a patient, one a side; every second patient's images have no spacing."""
    images: Images = []
    for index in range(num_images):
        panoptic, target = make_pair(seed + index, num_segments=6)
        generator = torch.Generator().manual_seed(seed + index)
        size = panoptic.segment_ids.shape
        shifted = torch.stack(
            [mask.roll(1, 0) for mask in [*target.masks, *panoptic.masks]] or [torch.zeros(size)]
        )
        masks = torch.cat([shifted.bool(), torch.rand(2, *size, generator=generator) < 0.02])
        masks = masks[masks.flatten(1).any(1)]
        labels = torch.randint(0, 3, (len(masks),), generator=generator)
        scores = torch.randint(1, 8, (len(masks),), generator=generator) / 8
        semantic = torch.rand(3, *size, generator=generator)
        image = ImageRecord(
            3 * index,
            f"{index}.png",
            f"p{index // 2}",
            *size,
            laterality="left" if index % 2 else "right",
            view="CC" if index % 3 else None,
            spacing_mm=(0.1, 0.1) if index // 2 % 2 else None,
        )
        images.append(
            (image, Prediction(panoptic, InstanceSegmentation(masks, labels, scores), semantic), target)
        )
    return images


def record(
    images: Images, clinical: ClinicalSettings | None = SETTINGS, matching: Matching = "hungarian"
) -> EvaluationRecords:
    recorder = EvaluationRecorder(
        category_names=NAMES, lowest_threshold=0.05, matching=matching, clinical=clinical
    )
    for image, prediction, target in images:
        recorder.update([image], [prediction], [target])
    return recorder.compute(0.3)
