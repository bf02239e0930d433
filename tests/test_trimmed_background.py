"""With the background trimmed, what is predicted is of the whole image, and exactly that of its part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from modise_lightning.assembly import build_data, build_module, build_segmenter
from modise_lightning.callbacks.pictures import PredictionPictures
from modise_lightning.data.background import find_breast
from modise_lightning.lightning_module import SegmentationModule
from modise_lightning.prediction import Predictor
from modise_lightning.structures import Prediction
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
OVERRIDES = ["data.trim_background=true", "inference.score_threshold=0.0", *ONE_STEP]


@pytest.fixture
def config(compose_config: Compose, phantom_root: Path, tmp_path: Path) -> DictConfig:
    return compose_config("train", [*phantom_overrides(phantom_root), *OVERRIDES], tmp_path)


def make_module(config: DictConfig) -> SegmentationModule:
    torch.manual_seed(0)
    return build_module(config, build_segmenter(config), {"name": "phantom", "synthetic": True}).eval()


def assert_placed(whole: Prediction, part: Prediction, rows: slice, columns: slice) -> None:
    for own, expected in (
        (whole.panoptic.segment_ids, part.panoptic.segment_ids),
        (whole.instances.masks, part.instances.masks),
        (whole.semantic, part.semantic),
    ):
        assert torch.equal(own[..., rows, columns], expected)
        assert own.count_nonzero() == expected.count_nonzero()
    assert torch.equal(whole.panoptic.labels, part.panoptic.labels)
    assert torch.equal(whole.instances.scores, part.instances.scores)
    assert part.semantic.any()


def test_the_prediction_of_an_image_is_that_of_its_breast_put_back(config: DictConfig) -> None:
    module = make_module(config)
    image = np.zeros((150, 130), dtype=np.float32)
    image[40:120, :70] = np.random.default_rng(0).uniform(0.3, 0.9, (80, 70))
    box = find_breast(image)
    assert box.height * box.width < 0.6 * image.size
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    arguments = {"longest_side": 128, "device": "cpu"}
    whole = Predictor(module.segmenter, module.inference, trim_background=True, **arguments)(image)
    part = Predictor(module.segmenter, module.inference, **arguments)(image[rows, columns])
    assert whole.panoptic.segment_ids.shape == image.shape
    assert_placed(whole, part, rows, columns)


def test_evaluation_and_pictures_are_of_the_whole_image(config: DictConfig, tmp_path: Path) -> None:
    data = build_data(config)
    module = make_module(config)
    batch = next(iter(data.test_dataloader()))
    assert batch.regions is not None
    sizes = [(region.height, region.width) for region in batch.regions]
    trimmed = [
        record.height * record.width > height * width
        for record, (height, width) in zip(batch.records, sizes, strict=True)
    ]
    assert any(trimmed)
    with torch.no_grad():
        predictions = module.predict_batch(batch)
        parts = module.inference(
            module.segmenter(batch.images),
            (batch.images.shape[-2], batch.images.shape[-1]),
            batch.image_sizes,
            sizes,
        )
    for prediction, part, region, record, target in zip(
        predictions, parts, batch.regions, batch.records, batch.targets, strict=True
    ):
        assert (
            target.segment_ids.shape == prediction.panoptic.segment_ids.shape == (record.height, record.width)
        )
        rows, columns = (
            slice(region.top, region.top + region.height),
            slice(region.left, region.left + region.width),
        )
        assert_placed(prediction, part, rows, columns)
    pictures = PredictionPictures(
        folder=str(tmp_path), num_images=2, rows_per_picture=2, categories=data.categories, note=None
    )

    class Trainer:
        is_global_zero = True

    pictures.on_test_batch_end(Trainer(), module, {"predictions": predictions}, batch, 0)
    for row, record, index in zip(pictures._rows, batch.records, range(2), strict=True):
        region = batch.regions[index]
        stored = data.dataset.read_image(data.indices["test"][index])
        assert row.image.shape[0] / row.image.shape[1] == pytest.approx(
            record.height / record.width, rel=0.02
        )
        rows, columns = np.nonzero(row.image)
        scale = row.image.shape[0] / stored.shape[0]
        assert rows.min() >= region.top * scale - 1
        assert columns.max() <= (region.left + region.width) * scale + 1
