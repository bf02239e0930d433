"""With the background trimmed, what is predicted is of the whole image, and exactly that of its part."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray
from omegaconf import DictConfig

import modise_lightning
from modise_lightning.callbacks.pictures import PredictionPictures
from modise_lightning.callbacks.wandb_dashboard import WandbDashboard
from modise_lightning.configuration.assembly import build_data, build_module, build_segmenter
from modise_lightning.data.images.background import find_breast
from modise_lightning.data.loading.batches import collate
from modise_lightning.data.loading.transforms import EvaluationTransform
from modise_lightning.prediction.predictor import Predictor
from modise_lightning.reporting.comparison import ComparisonRow
from modise_lightning.reporting.comparison import _draw_cells as draw_cells
from modise_lightning.reporting.export import export_prediction
from modise_lightning.structures import (
    Batch,
    Category,
    ImageRecord,
    InstanceSegmentation,
    PanopticSegmentation,
    Prediction,
)
from modise_lightning.training.lightning_module import SegmentationModule
from tiny_runs import ONE_STEP, phantom_overrides

Compose = Callable[..., DictConfig]
OVERRIDES = ["data.trim_background=true", "inference.score_threshold=0.0", *ONE_STEP]


@pytest.fixture
def config(compose_config: Compose, phantom_root: Path, tmp_path: Path) -> DictConfig:
    return compose_config("train", [*phantom_overrides(phantom_root), *OVERRIDES], tmp_path)


def evaluation_transform(image_size: int, trim_background: bool) -> EvaluationTransform:
    return EvaluationTransform(
        image_size=image_size, shorter_side=None, longer_side=1.0, trim_background=trim_background
    )


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

    def predict(pixels: NDArray[np.float32], trim_background: bool) -> Prediction:
        transform = evaluation_transform(128, trim_background)
        predictor = Predictor(
            module.segmenter, module.inference, transform=transform, size_multiple=32, device="cpu"
        )
        return predictor(pixels)

    whole, part = predict(image, True), predict(image[rows, columns], False)
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


def pages(batch: Batch, prediction: Prediction, folder: Path) -> NDArray[Any]:
    callback = PredictionPictures(
        folder=str(folder), num_images=1, rows_per_picture=1, categories=CATEGORIES, note=None
    )
    callback.on_test_batch_end(FirstProcess([]), Any, {"predictions": [prediction]}, batch, 0)
    return callback._rows[0].image


def weights_and_biases(batch: Batch, prediction: Prediction, folder: Path) -> NDArray[Any]:
    callback = WandbDashboard(Any, categories=CATEGORIES, num_images=1)
    trainer = FirstProcess([WandbLogger(save_dir=folder, offline=True, experiment=object())])
    callback.on_test_batch_end(trainer, Any, {"predictions": [prediction]}, batch, 0)
    return np.asarray(callback._images[1].image) / 255


def exported_files(batch: Batch, prediction: Prediction, folder: Path) -> NDArray[Any]:
    files = export_prediction(
        folder, "a", BREAST, prediction, CATEGORIES, source="a", metadata={}, synthetic_training_data=False
    )
    return cv2.imread(str(files.overlay), cv2.IMREAD_GRAYSCALE) / 255


def comparison_cell(batch: Batch, prediction: Prediction, folder: Path) -> NDArray[Any]:
    # Figures and the report's gallery draw rows of the stored image.
    row = ComparisonRow("a", BREAST, batch.targets[0], prediction)
    return draw_cells(row, CATEGORIES)[2].mean(-1) / 255


@dataclass
class FirstProcess:
    """What the callbacks ask of a trainer."""

    loggers: list[Any]
    is_global_zero: bool = True
    sanity_checking: bool = False


CATEGORIES = (Category("mass", ("mass",)),)
BREAST = np.zeros((150, 130), dtype=np.float32)
BREAST[40:120, :70] = np.kron(np.random.default_rng(0).uniform(0.3, 0.9, (8, 7)), np.ones((10, 10)))


@pytest.mark.parametrize("output", [pages, weights_and_biases, exported_files, comparison_cell])
def test_every_picture_shows_the_whole_image_under_whole_masks(
    output: Callable[[Batch, Prediction, Path], NDArray[Any]], tmp_path: Path
) -> None:
    image, region = evaluation_transform(64, True)(BREAST)
    assert region.height * region.width < 0.6 * BREAST.size
    nothing = torch.zeros(BREAST.shape, dtype=torch.int64)
    none = torch.zeros(0, dtype=torch.int64)
    target = PanopticSegmentation(nothing, none)
    record = ImageRecord(1, "a.png", "p", *BREAST.shape)
    batch = collate([(image, target, (image.shape[1], image.shape[2]), record, region)], 32)
    prediction = Prediction(
        panoptic=PanopticSegmentation(nothing, none, torch.zeros(0)),
        instances=InstanceSegmentation(torch.zeros(0, *BREAST.shape, dtype=torch.bool), none, torch.zeros(0)),
        semantic=torch.zeros(1, *BREAST.shape),
    )
    shown = output(batch, prediction, tmp_path)
    expected = cv2.resize(BREAST, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shown - expected).mean() < 0.03


def test_only_one_room_takes_images_out_of_a_batch() -> None:
    package = Path(modise_lightning.__file__).parent
    taking = {
        str(file.relative_to(package))
        for folder in ("callbacks", "reporting")
        for file in (package / folder).rglob("*.py")
        if re.search(r"batch\.(images|image_sizes|regions)\b", file.read_text())
    }
    assert taking == {"callbacks/whole_image.py"}
