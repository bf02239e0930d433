"""Writes runs as training does, without training: results of chosen numbers, or of measured random images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.records.clinical_settings import ClinicalSettings
from modise_lightning.metrics.records.evaluation_records import write_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.results import RunIdentity, write_results
from modise_lightning.structures import ImageRecord, InstanceSegmentation, PanopticSegmentation, Prediction

METRICS = Path(__file__).parents[1] / "conf" / "metrics" / "paper.yaml"
NAMES = ["benign", "malignant"]
THRESHOLDS = [0.1, 0.3, 0.95]


def identity(name: str, fold: int, **changes: Any) -> RunIdentity:
    values = {
        "dataset": "phantom",
        "synthetic": True,
        "split": "test",
        "matching": "panopticapi",
        "measurement": {"inference.score_threshold": 0.5, "backbone.window_size": 128},
        "dataset_digest": "d0",
        "num_folds": 5,
    }
    return RunIdentity(**{**values, "name": name, "fold": fold, **changes})


def chosen_result(quality: list[float], num_images: int = 4, **changes: Any) -> EvaluationResult:
    """Give a result whose mean PQ is as chosen, and whose other metrics are 0.1, 0.2, ... more."""

    def curves(offset: float) -> dict[str, list[float]]:
        return {name: [value + offset for value in quality] for name in NAMES}

    values = {
        "num_images": num_images,
        "category_names": NAMES,
        "thresholds": THRESHOLDS,
        "best_threshold": THRESHOLDS[0],
        "panoptic_quality": quality,
        "recognition_quality": [value + 0.1 for value in quality],
        "segmentation_quality": [value + 0.2 for value in quality],
        "average_precision": [value + 0.3 for value in quality],
        "dice": quality[0] + 0.4,
        "panoptic_quality_by_category": curves(0),
        "recognition_quality_by_category": curves(0.1),
        "segmentation_quality_by_category": curves(0.2),
        "average_precision_by_category": curves(0.3),
        "dice_by_category": dict.fromkeys(NAMES, quality[0] + 0.4),
    }
    return EvaluationResult(**{**values, **changes})


def without_category(result: EvaluationResult, category: str) -> EvaluationResult:
    """Say that a class occurs nowhere."""
    nothing = [math.nan] * len(result.thresholds)
    changes = {
        f"{metric}_by_category": {**getattr(result, f"{metric}_by_category"), category: nothing}
        for metric in (
            "panoptic_quality",
            "recognition_quality",
            "segmentation_quality",
            "average_precision",
        )
    }
    return EvaluationResult(**{**vars(result), **changes})


def write_chosen_run(
    folder: Path, name: str, fold: int, quality: list[float] | EvaluationResult, **changes: Any
) -> None:
    result = quality if isinstance(quality, EvaluationResult) else chosen_result(quality)
    write_results(folder / "results.json", {"trained": result}, identity(name, fold, **changes))


def write_crashed_run(folder: Path, overrides: dict[str, Any], command: str = "train") -> None:
    """Write what Hydra keeps of a run, and no results."""
    config = {"name": "${hydra:runtime.choices.backbone}-${text.kind}", "text": {"kind": "clip"}, "fold": 0}
    config |= {"data": {"name": "phantom"}, **overrides}
    hydra = {"hydra": {"job": {"config_name": command}, "runtime": {"choices": {"backbone": "sd"}}}}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))


def write_measured_run(
    folder: Path,
    name: str,
    fold: int,
    shift: int,
    num_images: int = 6,
    images_of: int | None = None,
    **changes: Any,
) -> EvaluationResult:
    """Measure predictions that are the truth, shifted by some columns, and keep results and records.

    The truth depends on the fold alone (or on the one that ``images_of`` names, as in an official test set),
    so that runs can be compared.
    """
    test_set = fold if images_of is None else images_of
    generator, noise = np.random.default_rng(test_set), np.random.default_rng(fold)
    images = []
    for index in range(num_images):
        ids = np.zeros((24, 24), np.int64)
        for segment in (1, 2, 3):
            top, left = generator.integers(0, 14, 2)
            ids[top : top + 8, left : left + 8] = segment
        target = PanopticSegmentation(torch.from_numpy(ids), torch.from_numpy(generator.integers(0, 2, 3)))
        step = int(generator.integers(0, 3)) + (0 if images_of is None else int(noise.integers(0, 2)))
        moved = PanopticSegmentation(target.segment_ids.roll(shift + step, 1), target.labels, torch.ones(3))
        instances = InstanceSegmentation(moved.masks, moved.labels, torch.rand(3))
        prediction = Prediction(moved, instances, torch.zeros(2, 24, 24))
        image_id = 100 * test_set + index
        record = ImageRecord(image_id, f"{image_id}.png", f"p{image_id // 2}", 24, 24)
        images.append((record, prediction, target))
    return write_run_of(folder, identity(name, fold, **changes), NAMES, images)


def write_run_of(
    folder: Path,
    run: RunIdentity,
    names: list[str],
    images: Sequence[tuple[ImageRecord, Prediction, PanopticSegmentation]],
    clinical: ClinicalSettings | None = None,
) -> EvaluationResult:
    """Measure predictions, and keep results and records."""
    values = yaml.safe_load(METRICS.read_text())
    del values["_target_"], values["_partial_"]
    values |= {"matching": run.matching, "clinical": clinical}
    metrics = SegmentationMetrics(category_names=names, isthing=[True] * len(names), **values)
    recorder = metrics.recorder()
    for record, prediction, target in images:
        metrics.update([prediction], [target])
        recorder.update([record], [prediction], [target])
    result = metrics.compute()
    records = recorder.compute(result.best_threshold)
    result = metrics.with_clinical(result, records)
    write_results(folder / "results.json", {"trained": result}, run)
    write_records(folder / "records" / "trained", records)
    return result
