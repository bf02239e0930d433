"""The trivial baseline finds a bright blob in a breast, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from modise_lightning.inference.bright_blob import predict_bright_blob

MAMMOGRAMS = Path(__file__).parents[3] / "shared/data/cdd_cesm_512/Low energy images of CDD-CESM"


def breast(height: int, width: int) -> NDArray[np.float32]:
    """Half an ellipse at the left border, with a skin line that is brighter than what is inside."""
    y, x = np.mgrid[:height, :width]
    tissue = np.hypot((y - height / 2) / (0.45 * height), x / (0.8 * width)) < 1
    depth = ndimage.distance_transform_edt(np.pad(tissue, ((0, 0), (1, 0)), mode="edge"))[:, 1:]
    image = 0.3 * tissue + 0.7 * (tissue & (depth < 0.022 * max(height, width)))
    return image.astype(np.float32)


def add_disc(
    image: NDArray[np.float32], centre: tuple[float, float], radius: float, value: float
) -> NDArray[np.bool_]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    image[disc] = value
    return np.asarray(disc)


@pytest.mark.parametrize(("height", "width"), [(256, 200), (512, 512), (1600, 1200)])
@pytest.mark.parametrize("place", [(0.5, 0.3), (0.35, 0.45), (0.5, 0.02)])
def test_finds_a_bright_disc_at_any_size(height: int, width: int, place: tuple[float, float]) -> None:
    image = breast(height, width)
    disc = add_disc(image, (place[0] * height, place[1] * width), 0.06 * height, 0.6)
    add_disc(image, (0.65 * height, 0.3 * width), 0.06 * height, 0.4)
    found = predict_bright_blob(image, category=1, num_categories=3).panoptic
    mask = found.segment_ids.numpy() == 1
    assert (mask & disc).sum() / (mask | disc).sum() > 0.7


def test_all_parts_of_the_prediction_say_the_same() -> None:
    image = breast(256, 256)
    add_disc(image, (128, 80), 20, 0.9)
    prediction = predict_bright_blob(image, category=2, num_categories=3)
    mask = prediction.panoptic.masks[0]
    assert prediction.panoptic.labels.tolist() == prediction.instances.labels.tolist() == [2]
    assert prediction.instances.scores.tolist() == [1.0]
    assert prediction.panoptic.scores is not None
    assert prediction.panoptic.scores.tolist() == [1.0]
    assert torch.equal(prediction.instances.masks[0], mask)
    assert torch.equal(prediction.semantic, torch.stack([mask * 0.0, mask * 0.0, mask * 1.0]))


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_an_image_without_contrast_has_no_segment(value: float) -> None:
    prediction = predict_bright_blob(np.full((64, 48), value, np.float32), category=0, num_categories=2)
    assert not prediction.panoptic.segment_ids.any()
    assert prediction.instances.masks.shape == (0, 64, 48)
    assert len(prediction.panoptic.labels) == len(prediction.instances.scores) == 0
    assert prediction.semantic.shape == (2, 64, 48)
    assert not prediction.semantic.any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_image_has_at_most_one_connected_blob(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    prediction = predict_bright_blob(image, category=0, num_categories=1)
    ids = prediction.panoptic.segment_ids.numpy()
    assert ids.shape == (height, width)
    _, count = ndimage.label(ids, np.ones((3, 3)))
    assert count == len(prediction.panoptic.labels) <= 1


@pytest.mark.skipif(not MAMMOGRAMS.is_dir(), reason="needs the mammograms")
def test_blobs_of_mammograms_are_bright_and_inside_the_breast() -> None:
    for path in sorted(MAMMOGRAMS.glob("*.jpg"))[::40]:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        mask = predict_bright_blob(image, category=0, num_categories=1).panoptic.segment_ids.numpy() == 1
        tissue = image > 0.1
        assert 20 < mask.sum() < 0.2 * image.size
        assert tissue[mask].mean() > 0.99
        assert image[mask].mean() > np.median(image[tissue])
