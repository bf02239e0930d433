"""Members together: one alone is itself, equal ones too, and maps are means that NumPy computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor

from modise_lightning.inference.combining import CombinedImage
from modise_lightning.inference.inference import SemanticKind
from modise_lightning.inference.resize import resize_mask_logits
from modise_lightning.inference.tiles import upsampled_tiles
from modise_lightning.inference.views import PlacedLogits, View
from modise_lightning.structures import Prediction
from shipped_inference import shipped_fusion, shipped_inference

SEEDS = st.integers(0, 2**32 - 1)
PLAIN = View("none", 1.0)
PADDED, IMAGE, OUTPUT = (64, 96), (60, 70), (131, 140)


def draw(seed: int, queries: int = 9) -> tuple[Tensor, Tensor]:
    """Class probabilities of four classes, and masks of a quarter of the padded size: discs."""
    generator = torch.Generator().manual_seed(seed)
    classes = (3 * torch.randn(queries, 5, generator=generator)).softmax(-1)
    center = torch.rand(queries, 2, 1, 1, generator=generator) * torch.tensor([15.0, 17.0])[:, None, None]
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="ij")
    distance = torch.hypot(rows - center[:, 0], columns - center[:, 1])
    return classes, 2 * (1 + 5 * torch.rand(queries, 1, 1, generator=generator) - distance)


def combined(
    *members: tuple[Tensor, Tensor, View], semantic: SemanticKind = "classes", minimum: float = 0.0
) -> Prediction:
    image = CombinedImage(
        shipped_inference(),
        shipped_fusion(minimum_score=minimum),
        image_size=IMAGE,
        output_size=OUTPUT,
        total_weight=float(len(members)),
        semantic=semantic,
    )
    for classes, masks, view in members:
        own = PADDED if view.is_plain else IMAGE
        image.add(classes, PlacedLogits(masks, own, IMAGE), view, 1.0)
    return image.result()


def alone(classes: Tensor, masks: Tensor, semantic: SemanticKind = "classes") -> Prediction:
    tiles = upsampled_tiles(masks, padded_size=PADDED, image_size=IMAGE, output_size=OUTPUT)
    return shipped_inference().predict_image(
        classes, ((tile, tile.logits.sigmoid_()) for tile in tiles), OUTPUT, semantic
    )


def assert_same(found: Prediction, expected: Prediction) -> None:
    by_score = expected.panoptic.scores.argsort(descending=True)  # type: ignore[union-attr]
    assert torch.equal(found.panoptic.labels, expected.panoptic.labels[by_score])
    assert torch.allclose(found.panoptic.scores, expected.panoptic.scores[by_score], atol=1e-6)  # type: ignore[index, arg-type]
    renumbered = torch.zeros(len(by_score) + 1, dtype=torch.int64)
    renumbered[by_score + 1] = torch.arange(1, len(by_score) + 1)
    differs = found.panoptic.segment_ids != renumbered[expected.panoptic.segment_ids]
    assert differs.float().mean() < 1e-3  # pixels at the very threshold, by rounding
    assert torch.allclose(found.semantic, expected.semantic, atol=1e-5)
    assert torch.allclose(found.instances.scores, expected.instances.scores, atol=1e-5)
    assert torch.equal(found.instances.labels, expected.instances.labels)


@given(SEEDS, st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_one_member_and_several_equal_ones_are_the_model_alone(seed: int, number: int) -> None:
    classes, masks = draw(seed)
    assert_same(combined(*[(classes, masks, PLAIN)] * number), alone(classes, masks))


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_flipped_view_of_the_same_is_the_same(seed: int) -> None:
    classes, masks = draw(seed)
    seen = resize_mask_logits(masks, padded_size=PADDED, image_size=IMAGE, output_size=IMAGE)
    both = combined((classes, masks, PLAIN), (classes, seen.flip(-1), View("horizontal", 1.0)))
    assert_same(both, alone(classes, masks))


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_maps_are_means_and_uncertainty_is_that_of_the_mean(seed: int) -> None:
    members = [draw(seed + number) for number in range(3)]
    found = combined(*[(*member, PLAIN) for member in members], semantic="any_thing")
    maps = [alone(*member, semantic="any_thing").semantic[0].double().numpy() for member in members]
    assert np.allclose(found.semantic[0], np.mean(maps, axis=0), atol=1e-5)
    shares = np.clip(maps, 0, 1)
    mean = shares.mean(0)
    total = entropy([mean, 1 - mean], base=2)
    own = entropy([shares, 1 - shares], base=2).mean(0)
    assert found.uncertainty is not None
    assert np.allclose(found.uncertainty.entropy, total, atol=1e-4)
    assert np.allclose(found.uncertainty.disagreement, total - own, atol=1e-4)
    by_class = combined(*[(*member, PLAIN) for member in members])
    assert by_class.uncertainty is None
    classes = np.mean([alone(*member).semantic.numpy() for member in members], axis=0)
    assert np.allclose(by_class.semantic, classes, atol=1e-5)


def test_members_that_agree_do_not_disagree_and_may_be_unsure() -> None:
    classes, masks = draw(3)
    found = combined(*[(classes, masks, PLAIN)] * 3, semantic="any_thing")
    assert found.uncertainty is not None
    assert found.uncertainty.disagreement.max() < 1e-5
    assert found.uncertainty.entropy.max() > 0.5


def test_a_lesion_of_one_of_five_is_an_instance_with_a_fifth_of_its_score() -> None:
    classes, masks = draw(5, queries=1)
    classes = torch.tensor([[0.9, 0.04, 0.02, 0.02, 0.02]])
    nothing = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    found = combined((classes, masks, PLAIN), *[(nothing, masks.neg(), PLAIN)] * 4, minimum=0.01)
    (score, *_) = found.instances.scores.tolist()
    expected = alone(classes, masks)
    assert score == pytest.approx(float(expected.instances.scores[0]) / 5, rel=1e-5)
    assert torch.equal(found.instances.masks[0], expected.instances.masks[0])
    assert len(found.panoptic.labels) == 0


def test_nothing_found_by_anybody_is_an_empty_prediction() -> None:
    _, masks = draw(1)
    nothing = torch.zeros(len(masks), 5)
    nothing[:, -1] = 1
    found = combined((nothing, masks, PLAIN), (nothing, masks, PLAIN), minimum=0.01)
    assert len(found.instances.labels) == len(found.panoptic.labels) == 0
    assert found.panoptic.segment_ids.shape == OUTPUT
