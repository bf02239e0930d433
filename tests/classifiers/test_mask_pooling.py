"""Pooling of features inside masks against loops and automatic differentiation."""

import pytest
import torch
from torch import Tensor

from modise_lightning.classifiers.mask_pooling import pool_masks
from outputs import as_product


def test_equals_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, 6, 7, generator=generator)
    embeddings = torch.randn(2, 3, 4, 8, generator=generator)
    pooled = pool_masks(features, embeddings)
    for level in range(2):
        for image in range(3):
            for query in range(4):
                logits = torch.einsum("c,chw->hw", embeddings[level, image, query], features[image])
                expected = features[image][:, logits.sigmoid() > 0.5].mean(-1)
                torch.testing.assert_close(pooled[level, image, query], expected)


def test_gradient_equals_automatic_differentiation() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 4, 6, dtype=torch.float64, generator=generator).requires_grad_()
    embeddings = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=generator)
    weights = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=generator)
    inside = (torch.einsum("lbqc,bchw->lbqhw", embeddings, features) > 0).flatten(3).double()
    means = inside @ features.flatten(2).transpose(1, 2) / inside.sum(-1, keepdim=True).clamp(min=1)
    (expected,) = torch.autograd.grad((means * weights).sum(), features)
    (found,) = torch.autograd.grad((pool_masks(features, embeddings) * weights).sum(), features)
    torch.testing.assert_close(found, expected)


def test_trains_the_features_and_not_the_masks() -> None:
    mask_logits = torch.full((1, 1, 1, 3, 3), -1.0)
    mask_logits[0, 0, 0, 0, :2] = 1
    embeddings, features = (each.requires_grad_() for each in as_product(mask_logits))
    pool_masks(features, embeddings).sum().backward()
    assert embeddings.grad is None
    expected = torch.zeros(1, 1, 3, 3)
    expected[..., 0, :2] = 0.5
    torch.testing.assert_close(features.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_empty_and_full_masks_stay_finite(dtype: torch.dtype, sign: float) -> None:
    """A full mask of 256 x 256 sums more than float16 holds."""
    features = torch.full((1, 2, 256, 256), 3.0, dtype=dtype)
    pooled: Tensor = pool_masks(features, torch.full((1, 1, 1, 2), sign))
    torch.testing.assert_close(pooled, torch.full_like(pooled, 3.0 if sign > 0 else 0.0), rtol=0.02, atol=0)
