"""The frozen image encoder preprocesses as open_clip does, and stays frozen."""

from typing import Literal

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from modise_lightning.captioners.image_encoder import ImageEncoder


def image_encoder(
    tower: nn.Module,
    resize_mode: Literal["shortest", "squash"] = "shortest",
    size: int = 64,
    antialias: bool = True,
) -> ImageEncoder:
    return ImageEncoder(
        tower=tower,
        embedding_dim=8,
        size=size,
        mean=open_clip.OPENAI_DATASET_MEAN,
        std=open_clip.OPENAI_DATASET_STD,
        interpolation="bicubic",
        resize_mode=resize_mode,
        antialias=antialias,
    )


@pytest.mark.parametrize("shape", [(150, 201), (201, 150), (512, 512), (40, 50), (64, 64)])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_preprocessing_is_open_clips(
    shape: tuple[int, int], resize_mode: Literal["shortest", "squash"]
) -> None:
    rng = np.random.default_rng(0)
    # Away from black and white, where PIL also clamps between its two passes.
    pixels = rng.integers(64, 192, (*shape, 3), dtype=np.uint8)
    pixels[: shape[0] // 2] = np.sort(pixels[: shape[0] // 2], axis=1)
    transform = image_transform_v2(PreprocessCfg(size=64, resize_mode=resize_mode), is_train=False)
    expected = transform(Image.fromarray(pixels))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    found = image_encoder(nn.Identity(), resize_mode).preprocess(images)[0]
    # PIL rounds to 8 bits after each of two passes.
    assert (found - expected).abs().max() < 2 / 255 / min(open_clip.OPENAI_DATASET_STD)


def test_preprocessing_keeps_to_the_range_of_images() -> None:
    """A hard edge makes bicubic resizing overshoot."""
    images = torch.zeros(1, 3, 64, 64)
    images[..., 32:] = 1
    encoder = image_encoder(nn.Identity(), size=100)
    restored = encoder.preprocess(images) * encoder.std + encoder.mean
    assert restored.min() > -1e-6
    assert restored.max() < 1 + 1e-6


def test_tower_is_frozen() -> None:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.Dropout())
    encoder = image_encoder(tower, size=16)
    holder = nn.ModuleList([encoder]).train()
    assert holder.training
    assert not any(module.training for module in encoder.modules())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    embeddings = encoder(images)
    assert embeddings.shape == (2, 8)
    assert not embeddings.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    torch.testing.assert_close(encoder(images), embeddings, rtol=0, atol=0)
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"tower"}
