"""A mask's token in both libraries' towers: equal to the class token, or to masked attention written out."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from open_clip.model import _build_vision_tower
from torch import nn

from modise_lightning.errors import UserError
from modise_lightning.inference.clip_head import apply_template
from modise_lightning.inference.mask_tokens import encode_masks

OPENAI = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8}
BIOMED = {
    "timm_model_name": "vit_tiny_patch16_224",
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": 224,
}


def tower(vision: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    built = _build_vision_tower(24, {**vision, "timm_model_pretrained": False}, True)
    for parameter in built.parameters():  # biases and positions that are not zero
        nn.init.normal_(parameter, std=0.2)
    return cast(nn.Module, built.eval())


@pytest.mark.parametrize("vision", [OPENAI, BIOMED])
@torch.no_grad()
def test_a_mask_of_everything_is_the_image(vision: dict[str, Any]) -> None:
    """Its token attends to what the class token attends to, so the whole tower gives the same."""
    model, size = tower(vision), vision["image_size"]
    images = torch.randn(2, 3, size, size)
    found = encode_masks(model, images, torch.ones(2, 3, size, size, dtype=torch.bool))
    assert found.shape == (2, 3, 24)
    torch.testing.assert_close(found, model(images)[:, None].expand(-1, 3, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vision", [OPENAI, BIOMED])
@torch.no_grad()
def test_a_mask_sees_its_patches_and_no_other_mask(vision: dict[str, Any]) -> None:
    model, size = tower(vision), vision["image_size"]
    images = torch.randn(1, 3, size, size)
    masks = torch.zeros(1, 3, size, size, dtype=torch.bool)
    masks[0, 0, 2, 3] = True  # one pixel of the first patch
    masks[0, 1, :8, :8] = True  # the first patch, or a part of it
    masks[0, 2, -1, -1] = True  # the last patch
    found = encode_masks(model, images, masks)[0]
    torch.testing.assert_close(found[0], found[1])
    assert (found[0] - found[2]).norm() > 0.01 * found[0].norm()
    alone = torch.cat([encode_masks(model, images, masks[:, [index]])[0] for index in range(3)])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def test_another_kind_of_tower_is_refused() -> None:
    with pytest.raises(UserError, match=r"clip_head: the image tower is a Linear .*enabled=false"):
        encode_masks(nn.Linear(1, 1), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool))


def test_a_template_has_one_place() -> None:
    assert apply_template("a photo of a {}.", ["cyst", "mass {1}"]) == [
        "a photo of a cyst.",
        "a photo of a mass {1}.",
    ]
    for template in ("a photo", "{} and {}"):
        with pytest.raises(UserError, match=r"template: .* needs one \{\}.*clip_head\.template"):
            apply_template(template, ["cyst"])
