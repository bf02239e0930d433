"""The fusion of members against the same rule on sets of pixels, and cases computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modise_lightning.errors import UserError
from modise_lightning.inference.fusion import fuse_queries
from shipped_inference import shipped_fusion

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, members: int, queries: int) -> tuple[Tensor, Tensor, list[int], list[float]]:
    """Boxes on a line of 16 pixels, so that many overlap; two classes and "no object"."""
    generator = torch.Generator().manual_seed(seed)
    number = members * queries
    classes = torch.randn(number, 3, generator=generator).softmax(-1)
    start = torch.randint(0, 12, (number, 1), generator=generator)
    length = torch.randint(0, 8, (number, 1), generator=generator)
    pixels = torch.arange(16)
    inside = (pixels >= start) & (pixels < start + length)
    member = torch.randint(0, members, (number,), generator=generator).tolist()
    weights = (0.5 + torch.rand(members, generator=generator)).tolist()
    return classes, inside, member, weights


def brute_force(
    classes: Tensor, inside: Tensor, member: list[int], weights: list[float], threshold: float
) -> list[tuple[dict[int, float], list[float]]]:
    """Give of each group how much of each query is in its mask, and its class probabilities."""
    pixels = [set(torch.nonzero(row).flatten().tolist()) for row in inside]
    scores = [max(row[:-1]) for row in classes.tolist()]
    groups: list[dict[int, int]] = []  # member to query, the seed first
    for query in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        best, chosen = -1.0, None
        for group in groups:
            seed = next(iter(group.values()))
            union = pixels[query] | pixels[seed]
            iou = len(pixels[query] & pixels[seed]) / len(union) if union else 0.0
            if member[query] not in group and iou >= threshold and iou > best:
                best, chosen = iou, group
        if chosen is None:
            groups.append({member[query]: query})
        else:
            chosen[member[query]] = query
    fused = []
    for group in groups:
        parts = {query: weights[who] * scores[query] for who, query in group.items()}
        mean = [0.0, 0.0, 0.0]
        for who, weight in enumerate(weights):
            own = classes[group[who]].tolist() if who in group else [0.0, 0.0, 1.0]
            mean = [old + weight / sum(weights) * new for old, new in zip(mean, own, strict=True)]
        fused.append(({query: part / sum(parts.values()) for query, part in parts.items()}, mean))
    return fused


@given(SEEDS, st.integers(1, 4), st.integers(0, 5), st.sampled_from([0.2, 0.5, 1.0]))
@settings(max_examples=80, deadline=None)
def test_queries_are_fused_as_sets_of_pixels_are(
    seed: int, members: int, queries: int, threshold: float
) -> None:
    classes, inside, member, weights = draw(seed, members, queries)
    fused = fuse_queries(classes, inside, member, weights, threshold)
    expected = brute_force(classes, inside, member, weights, threshold)
    assert len(fused.class_probabilities) == len(expected)
    for row, (parts, mean) in enumerate(expected):
        assert fused.class_probabilities[row].tolist() == pytest.approx(mean, abs=1e-6)
        own = fused.mask_weights[row]
        found = {index: float(own[index]) for index in torch.nonzero(own).flatten().tolist()}
        assert found == pytest.approx(parts, abs=1e-6)


@given(SEEDS, st.integers(2, 4), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_what_holds_of_every_fusion(seed: int, members: int, queries: int) -> None:
    classes, inside, member, weights = draw(seed, members, queries)
    fused = fuse_queries(classes, inside, member, weights, 0.5)
    assert torch.allclose(fused.class_probabilities.sum(1), torch.ones(len(fused.class_probabilities)))
    assert torch.allclose(fused.mask_weights.sum(1), torch.ones(len(fused.mask_weights)))
    # Each query is in one group, and no group has two of a member.
    belongs = fused.mask_weights > 0
    assert belongs.sum(0).tolist() == [1] * len(member)
    for row in belongs:
        own = [member[index] for index in torch.nonzero(row).flatten().tolist()]
        assert len(own) == len(set(own))
    # The order of the queries does not matter, as no two scores are equal.
    order = torch.randperm(len(member), generator=torch.Generator().manual_seed(seed))
    other = fuse_queries(classes[order], inside[order], [member[i] for i in order.tolist()], weights, 0.5)
    assert torch.allclose(other.class_probabilities, fused.class_probabilities, atol=1e-6)
    assert torch.allclose(other.mask_weights, fused.mask_weights[:, order], atol=1e-6)


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_members_that_say_the_same_say_it_together(seed: int, members: int) -> None:
    classes, inside, _, _ = draw(seed, 1, 5)
    member = [index for index in range(members) for _ in range(5)]
    fused = fuse_queries(classes.repeat(members, 1), inside.repeat(members, 1), member, [1.0] * members, 0.5)
    empty = ~inside.any(1)  # nothing overlaps an empty mask, not even itself
    order = classes[:, :-1].max(1).values.argsort(descending=True)
    expected = classes[order[~empty[order]]]
    found = fused.class_probabilities[(fused.mask_weights > 0).sum(1) == members]
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_lesion_that_one_of_five_finds_keeps_a_fifth_of_its_score() -> None:
    classes = torch.tensor([[0.9, 0.05, 0.05]])
    fused = fuse_queries(classes, torch.ones(1, 4, dtype=torch.bool), [3], [1.0] * 5, 0.5)
    assert fused.class_probabilities[0].tolist() == pytest.approx([0.18, 0.01, 0.81])
    assert fused.mask_weights.tolist() == [[1.0]]


def test_weights_and_scores_decide_the_mean_mask_by_hand() -> None:
    """Weights 1 and 3, scores 0.6 and 0.4: the masks have 0.6 and 1.2 parts of 1.8."""
    classes = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    inside = torch.tensor([[True, True, False], [True, True, True]])
    fused = fuse_queries(classes, inside, [0, 1], [1.0, 3.0], 0.6)
    assert fused.mask_weights[0].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert fused.class_probabilities[0].tolist() == pytest.approx([0.45, 0.55])
    assert len(fuse_queries(classes, inside, [0, 1], [1.0, 3.0], 0.7).mask_weights) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"iou_threshold": 0.0},
        {"iou_threshold": 1.5},
        {"minimum_score": 1.0},
        {"minimum_score": -0.1},
        {"weights": [1.0, 0.0]},
        {"weights": [float("inf")]},
        {"shared_gigabytes": 0.0},
    ],
)
def test_settings_out_of_their_range_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"fusion\.{next(iter(changes))} must be"):
        shipped_fusion(**changes)
