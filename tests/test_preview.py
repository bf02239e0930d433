"""The preview command draws what the steps see, and tells how often each class is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

from modise_lightning.configuration.assembly import build_data
from modise_lightning.errors import UserError
from modise_lightning.preview import describe_classes, preview, show_training_images
from tiny_runs import phantom_overrides

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    "choice", ["cacheable", "copy_paste", "elastic", "gamma", "[copy_paste,elastic,gamma]"]
)
def test_a_sheet_shows_each_image_as_the_epochs_do(
    choice: str, compose_config: Compose, phantom_root: Path, tmp_path: Path
) -> None:
    overrides = [
        *phantom_overrides(phantom_root),
        f"augmentation={choice}",
        "images=2",
        "versions=3",
        "batch_size=1",
    ]
    config = compose_config("preview", overrides, tmp_path)
    path = preview(config)
    sheet = cv2.imread(str(path))
    assert sheet.shape[1] == pytest.approx(4 * 308 + 16, abs=8)
    assert sheet.shape[0] > 2 * 300
    data = build_data(config)
    cells = list(show_training_images(data, 2, 3))
    assert [cell.name for cell in cells[1:4]] == ["epoch 1", "epoch 2", "epoch 3"]
    loader = data.train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        seen = [
            (image, target)
            for batch in loader
            for image, target in zip(batch.images, batch.targets, strict=True)
        ]
        for cell in (cells[1 + epoch], cells[5 + epoch]):
            matches = [
                target
                for image, target in seen
                if np.allclose(image[0].numpy(), cell.image, atol=1e-5)
                and np.array_equal(target.segment_ids.numpy(), cell.segmentation.segment_ids.numpy())
            ]
            assert len(matches) == 1


def test_how_often_an_epoch_shows_a_class(
    compose_config: Compose, phantom_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*phantom_overrides(phantom_root), "sampling=repeat_factor", "images=1", "versions=1"]
    overrides.append("data.module.repeat_threshold=1")
    config = compose_config("preview", overrides, tmp_path)
    preview(config)
    data = build_data(config)
    lines = list(describe_classes(data))
    assert capsys.readouterr().out.splitlines()[: len(lines)] == lines
    sampler, counts = data.training_sampler(), np.zeros(len(data.indices["train"]))
    epochs = 300
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        counts += np.bincount([position for position, _ in sampler], minlength=len(counts))
    np.testing.assert_allclose(counts / epochs, data.times_an_epoch(), atol=0.1)
    assert max(data.times_an_epoch()) > 1 > min(data.times_an_epoch())


def test_wrong_settings_are_told(compose_config: Compose, phantom_root: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ("images=0", "images: found 0"),
        ("+data.module.repeat_threshold=0", "data.module.repeat_threshold"),
    ):
        config = compose_config("preview", [*phantom_overrides(phantom_root), wrong], tmp_path)
        with pytest.raises(UserError, match=message):
            preview(config)
    config = compose_config("preview", [f"data.root={tmp_path}", "data.auto_prepare=false"], tmp_path)
    with pytest.raises(UserError, match="prepare"):
        preview(config)
