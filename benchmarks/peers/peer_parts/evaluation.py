"""Evaluates predictions of any model with this library's metrics; results and records are as its runs'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from hydra import compose, initialize_config_dir

from modise_lightning.configuration.assembly import build_metrics, categories_of
from modise_lightning.configuration.command_line import config_directory
from modise_lightning.configuration.run_identity import run_identity
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.metrics.records.evaluation_records import write_records
from modise_lightning.metrics.result import EvaluationResult
from modise_lightning.reporting.results import Setting, write_results
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, Prediction
from peer_parts.exchange import ExchangedImage
from peer_parts.predictions import PredictedImage
from peer_parts.settings import library_overrides

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Keys of how this library's own models make results of their outputs, which peers do otherwise.
OWN_RULES = ("inference.", "clip_head.", "backbone.", "trainer.")


def compose_config(data: Path, size: int, fold: int, model: str, output: Path) -> DictConfig:
    """Compose the library's configuration of an evaluation."""
    with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
        overrides = [*library_overrides(data, size, fold, model), f"output_dir={output}"]
        return compose("train", overrides)


def open_dataset(config: DictConfig) -> PreparedDataset:
    """Open the prepared dataset of a configuration."""
    return PreparedDataset.open(Path(config.data.root), categories_of(config))


def evaluate_predictions(
    config: DictConfig,
    dataset: PreparedDataset,
    images: list[ExchangedImage],
    predict: Callable[[ExchangedImage], PredictedImage],
    folder: Path,
) -> EvaluationResult:
    """Compare predictions with the truth at the stored size; write ``results.json`` and ``records/``.

    Args:
        config: Composed.
        dataset: The prepared dataset.
        images: The test images.
        predict: Gives the prediction of an image.
        folder: Where results and records go, as those of a run of the library.
    """
    metrics = build_metrics(config)
    recorder = metrics.recorder()
    for image in images:
        prediction = to_prediction(predict(image), len(dataset.categories))
        target = dataset.read_target(image.position)
        record = dataset.records[image.position]
        metrics.update([prediction], [target], [record.image_id])
        recorder.update([record], [prediction], [target])
    result = metrics.compute()
    records = recorder.compute(result.best_threshold)
    result = metrics.with_clinical(result, records)
    identity = run_identity(config, dataset, "test", precision=None)
    measured: dict[str, Setting] = {
        key: value for key, value in identity.measurement.items() if not key.startswith(OWN_RULES)
    }
    # No part of the peer is one of the library's configuration.
    identity = replace(identity, random_parts=(), measurement={**measured, "inference.rule": config.name})
    write_results(folder / "results.json", {"trained": result}, identity)
    write_records(folder / "records" / "trained", records)
    return result


def to_prediction(image: PredictedImage, num_categories: int) -> Prediction:
    """Give a stored prediction as the library's; classes that a model does not know have the value 0.

    Args:
        image: Of the stored image's size.
        num_categories: Classes of the prepared dataset.
    """
    semantic = torch.zeros(num_categories, *image.segments.shape)
    for label, values in image.semantic.items():
        semantic[label] = torch.from_numpy(values)
    return Prediction(
        panoptic=PanopticSegmentation(
            torch.from_numpy(image.segments).long(),
            torch.from_numpy(image.segment_labels),
            torch.from_numpy(image.segment_scores),
        ),
        instances=InstanceSegmentation(
            torch.from_numpy(image.masks), torch.from_numpy(image.labels), torch.from_numpy(image.scores)
        ),
        semantic=semantic,
    )
