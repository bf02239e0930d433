"""Evaluates what a trained model is compared with: the trivial baseline on the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.inference.bright_blob import predict_bright_blob
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.metrics.records.evaluation_records import EvaluationRecords
from modise_lightning.metrics.result import EvaluationResult


def evaluate_bright_blob(
    dataset: PreparedDataset,
    *,
    indices: Sequence[int],
    train_indices: Sequence[int],
    metrics: SegmentationMetrics,
) -> tuple[EvaluationResult, EvaluationRecords]:
    """Evaluate the brightest blob in the breast, in the training images' most frequent class.

    Several processes share the images, as the metrics add up what all of them counted.

    Args:
        dataset: A prepared dataset.
        indices: Images to evaluate, those of all processes.
        train_indices: Images that the class is chosen on.
        metrics: Fresh metrics.

    Returns:
        The result, and what was found in each image.
    """
    frequency = Counter(label for index in train_indices for label in dataset.segment_labels(index))
    category = frequency.most_common(1)[0][0] if frequency else 0
    metrics.reset()
    recorder = metrics.recorder()
    for index in _own(indices):
        prediction = predict_bright_blob(
            dataset.read_image(index), category=category, num_categories=len(dataset.categories)
        )
        target = dataset.read_target(index)
        record = dataset.records[index]
        metrics.update([prediction], [target], [record.image_id])
        recorder.update([record], [prediction], [target])
    result = metrics.compute()
    records = recorder.compute(result.best_threshold)
    return metrics.with_clinical(result, records), records


def _own(indices: Sequence[int]) -> Sequence[int]:
    """Give this process's share of the images."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return indices
    return indices[torch.distributed.get_rank() :: torch.distributed.get_world_size()]
