"""Charts and pictures that a run leaves as files and in TensorBoard."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modise_lightning.train import train
from tiny_runs import ONE_STEP, phantom_overrides


def test_tensorboard_shows_what_the_files_hold(
    compose_config: Callable[..., DictConfig], phantom_root: Path, tmp_path: Path
) -> None:
    overrides = ["logger=tensorboard", "baselines=[]", *phantom_overrides(phantom_root), *ONE_STEP]
    result = train(compose_config("train", overrides, tmp_path))["trained"]
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    files = {
        "validation/curves": "validation_curves.png",
        "test/curves": "test_curves.png",
        "test/confusion": "test_confusion.png",
        "test/predictions_000": "test_000.png",
    }
    assert set(events.Tags()["images"]) == set(files)
    for tag, name in files.items():
        shown = cv2.imdecode(np.frombuffer(events.Images(tag)[-1].encoded_image_string, np.uint8), 1)
        assert np.array_equal(shown, cv2.imread(str(tmp_path / "pictures" / name)))
        assert shown.std() > 5  # something is drawn
    assert events.Scalars("test/dice")[-1].value == np.float32(result.dice)
    settings = events.PluginTagToContent("hparams")
    assert any(b"optimizer/learning_rate" in content for content in settings.values())
