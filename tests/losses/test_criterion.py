"""The criterion equals transformers' Mask2FormerLoss on the same points, and holds its properties."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerHungarianMatcher, Mask2FormerLoss

from modise_lightning.errors import UserError
from modise_lightning.losses.criterion import SetCriterion
from modise_lightning.losses.matching import UNMATCHED, HungarianMatcher
from modise_lightning.losses.point_sampling import sample_points
from modise_lightning.structures import PanopticSegmentation, SegmenterOutput
from outputs import all_masks, output_with_masks

NUM_CLASSES = 3
NUM_POINTS = 64
CHANNELS = 5  # of mask embeddings and mask features


def criterion(**changes: Any) -> SetCriterion:
    values: dict[str, Any] = {
        "class_weight": 2.0,
        "mask_weight": 5.0,
        "dice_weight": 5.0,
        "no_object_weight": 0.1,
        "num_points": NUM_POINTS,
        "oversample_ratio": 3.0,
        "importance_ratio": 0.75,
    }
    return SetCriterion(**{**values, **changes})


def make_output(predictions: int, images: int, queries: int, seed: int = 0) -> SegmenterOutput:
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(predictions, images, queries, NUM_CLASSES + 1, generator=generator)
    return SegmenterOutput(
        class_logits,
        torch.randn(predictions, images, queries, CHANNELS, generator=generator),
        torch.randn(images, CHANNELS, 8, 12, generator=generator),
    )


def make_targets(counts: list[int], seed: int = 0) -> list[PanopticSegmentation]:
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for count in counts:
        ids = torch.zeros(32, 48, dtype=torch.int64)
        for index in range(count):
            top, left = (int(torch.randint(0, limit, (), generator=generator)) for limit in (20, 36))
            ids[top : top + 12, left : left + 12] = index + 1
            ids[0, index] = index + 1  # never covered by the others entirely
        targets.append(
            PanopticSegmentation(ids, torch.randint(0, NUM_CLASSES, (count,), generator=generator))
        )
    return targets


@pytest.fixture
def same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every caller that asks for random points the same ones, whatever its order of asking."""
    drawn = torch.rand(4096, 2, generator=torch.Generator().manual_seed(5))

    def rand(*shape: Any, **_: Any) -> torch.Tensor:
        sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return drawn[: sizes[-2]].expand(sizes).clone()

    monkeypatch.setattr(torch, "rand", rand)


def reference_losses(output: SegmenterOutput, targets: list[PanopticSegmentation]) -> dict[str, torch.Tensor]:
    config = Mask2FormerConfig(
        num_labels=NUM_CLASSES,
        train_num_points=NUM_POINTS,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        no_object_weight=0.1,
        class_weight=2.0,
        mask_weight=5.0,
        dice_weight=5.0,
    )
    loss = Mask2FormerLoss(config, {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0})
    loss.empty_weight = torch.tensor([1.0] * NUM_CLASSES + [0.1])
    auxiliary = [
        {"masks_queries_logits": masks, "class_queries_logits": classes}
        for masks, classes in zip(all_masks(output)[:-1], output.class_logits[:-1], strict=True)
    ]
    found: dict[str, torch.Tensor] = loss(
        output.mask_logits(),
        output.class_logits[-1],
        [target.masks.float() for target in targets],
        [target.labels for target in targets],
        auxiliary,
    )
    return found


@pytest.mark.usefixtures("same_points")
@pytest.mark.parametrize("counts", [[2, 3], [1, 0], [4, 1, 2], [12, 1]])
def test_losses_and_gradients_equal_transformers(counts: list[int]) -> None:
    targets = make_targets(counts)
    output = make_output(3, len(counts), 6)
    inputs = [output.class_logits, output.mask_embeddings, output.mask_features]
    for each in inputs:
        each.requires_grad_()
    losses = criterion()(output, targets)
    expected = reference_losses(output, targets)
    names = {"class": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
    for own, theirs in names.items():
        for suffix in ("", "_0", "_1"):
            assert losses[own + suffix].item() == pytest.approx(expected[theirs + suffix].item(), rel=1e-5), (
                own
            )
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    total = sum(
        weights[name.rsplit("_", 1)[0] if name[-1].isdigit() else name] * value
        for name, value in expected.items()
    )
    assert losses["loss"].item() == pytest.approx(torch.as_tensor(total).item(), rel=1e-5)
    own_gradients = torch.autograd.grad(losses["loss"], inputs)
    their_gradients = torch.autograd.grad(total, inputs)  # type: ignore[arg-type]
    for own_gradient, their_gradient in zip(own_gradients, their_gradients, strict=True):
        assert torch.allclose(own_gradient, their_gradient, rtol=1e-4, atol=1e-6)


def test_no_lesion_in_the_batch_is_right() -> None:
    output = make_output(2, 2, 4)
    output.mask_embeddings.requires_grad_()
    losses = criterion()(output, make_targets([0, 0]))
    assert losses["mask"] == losses["dice"] == 0
    expected = torch.nn.functional.cross_entropy(
        output.class_logits[-1].flatten(0, 1), torch.full((8,), NUM_CLASSES)
    )
    assert losses["class"].item() == pytest.approx(expected.item(), rel=1e-5)
    losses["loss"].backward()
    assert output.mask_embeddings.grad is not None
    assert not output.mask_embeddings.grad.any()


@given(queries=st.integers(1, 5), segments=st.integers(1, 4), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_matching_is_the_cheapest_of_all_assignments(queries: int, segments: int, seed: int) -> None:
    output, targets = make_output(2, 1, queries, seed), make_targets([segments], seed)
    matcher = HungarianMatcher(class_cost=2.0, mask_cost=5.0, dice_cost=5.0, num_points=NUM_POINTS)
    arguments = (output, [targets[0].masks.float()], [targets[0].labels])
    torch.manual_seed(seed)
    matched = matcher(*arguments)
    torch.manual_seed(seed)
    costs = matcher.costs(*arguments)[:, 0]
    for prediction in range(2):
        pairs = [(int(query), index) for index, query in enumerate(matched[prediction]) if query != UNMATCHED]
        assert len(pairs) == min(queries, segments)
        assert len({query for query, _ in pairs}) == len(pairs)
        found = sum(float(costs[prediction, query, index]) for query, index in pairs)
        assert found == pytest.approx(cheapest(costs[prediction]), abs=1e-4)


def cheapest(costs: torch.Tensor) -> float:
    rows, columns = costs.shape
    if rows < columns:
        return cheapest(costs.T)
    return min(
        sum(float(costs[row, column]) for column, row in enumerate(chosen))
        for chosen in itertools.permutations(range(rows), columns)
    )


def test_a_perfect_prediction_costs_almost_nothing() -> None:
    (target,) = make_targets([2])
    masks = torch.nn.functional.interpolate(target.masks.float()[None], (32, 48))
    mask_logits = torch.full((1, 1, 4, 32, 48), -20.0)
    mask_logits[0, 0, :2] = 40 * masks[0] - 20
    class_logits = torch.full((1, 1, 4, NUM_CLASSES + 1), -20.0)
    class_logits[0, 0, [2, 3], NUM_CLASSES] = 20
    class_logits[0, 0, [0, 1], target.labels] = 20
    losses = criterion(num_points=1000)(output_with_masks(class_logits, mask_logits), [target])
    assert losses["class"] < 1e-4
    assert losses["dice"] < 0.2  # points between a mask's pixels and its neighbours are in between
    worse = criterion(num_points=1000)(output_with_masks(class_logits, -mask_logits), [target])
    assert worse["mask"] > 20 * losses["mask"]


@given(order=st.permutations(range(6)), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_matches_follow_the_order_of_the_queries(order: list[int], seed: int) -> None:
    output, targets = make_output(2, 2, 6, seed), make_targets([2, 3], seed)
    permuted = replace(
        output,
        class_logits=output.class_logits[:, :, order],
        mask_embeddings=output.mask_embeddings[:, :, order],
    )
    masks, labels = [target.masks.float() for target in targets], [target.labels for target in targets]
    matcher = HungarianMatcher(class_cost=2.0, mask_cost=5.0, dice_cost=5.0, num_points=NUM_POINTS)
    matched, after = (
        matcher(each, masks, labels, torch.Generator().manual_seed(seed)) for each in (output, permuted)
    )
    assert torch.equal(torch.tensor(order)[after], matched)
    before_loss, after_loss = (
        criterion()(each, targets, torch.Generator().manual_seed(seed))["loss"].item()
        for each in (output, permuted)
    )
    assert after_loss == pytest.approx(before_loss, rel=1e-5)


@pytest.mark.usefixtures("same_points")
@pytest.mark.parametrize("counts", [[2, 0, 5], [8, 1]])
def test_matches_equal_transformers(counts: list[int]) -> None:
    output, targets = make_output(3, len(counts), 6), make_targets(counts)
    masks, labels = [target.masks.float() for target in targets], [target.labels for target in targets]
    matcher = HungarianMatcher(class_cost=2.0, mask_cost=5.0, dice_cost=5.0, num_points=NUM_POINTS)
    theirs = Mask2FormerHungarianMatcher(cost_class=2.0, cost_mask=5.0, cost_dice=5.0, num_points=NUM_POINTS)
    matched = matcher(output, masks, labels).split(counts, dim=1)
    for prediction in range(3):
        expected = theirs(output.mask_logits(prediction), output.class_logits[prediction], masks, labels)
        for own, (queries, segments) in zip(matched, expected, strict=True):
            wanted = torch.full_like(own[prediction], UNMATCHED)
            wanted[segments] = queries
            assert torch.equal(own[prediction], wanted)


def test_a_query_that_is_no_number_is_the_last_choice() -> None:
    output, (target,) = make_output(1, 1, 3), make_targets([2])
    output.mask_embeddings[0, 0, 1] = torch.nan
    matcher = HungarianMatcher(class_cost=2.0, mask_cost=5.0, dice_cost=5.0, num_points=NUM_POINTS)
    matched = matcher(output, [target.masks.float()], [target.labels])
    assert sorted(matched[0].tolist()) == [0, 2]


def test_equal_generators_give_equal_losses() -> None:
    output, targets = make_output(2, 2, 6), make_targets([2, 1])
    first, again, other = (
        criterion()(output, targets, torch.Generator().manual_seed(seed))["loss"].item() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_losses_are_computed_in_float32_whatever_the_network_used() -> None:
    output, targets = make_output(2, 2, 6), make_targets([2, 1])
    values = (output.class_logits, output.mask_embeddings, output.mask_features)
    half = SegmenterOutput(*(each.bfloat16() for each in values))
    same = SegmenterOutput(*(each.bfloat16().float() for each in values))
    # Queries so much alike that costs in half precision would mix them up.
    close = make_output(2, 2, 30)
    for logits in (close.mask_embeddings, close.class_logits):
        logits[:] = logits[:, :, :1] + 1e-4 * logits
    for under_autocast, plain in ((half, same), (close, close)):
        with torch.autocast("cpu", torch.bfloat16):
            found = criterion()(under_autocast, targets, torch.Generator().manual_seed(0))
        expected = criterion()(plain, targets, torch.Generator().manual_seed(0))
        for name, value in found.items():
            assert value.dtype == torch.float32
            assert torch.equal(value, expected[name]), name


def test_void_is_outside_of_every_segment() -> None:
    output, (target,) = make_output(1, 1, 6), make_targets([2])
    with_void = PanopticSegmentation(target.segment_ids.clone(), target.labels)
    with_void.segment_ids[target.segment_ids == 0] = -1
    expected, found = (
        criterion()(output, [each], torch.Generator().manual_seed(0))["loss"] for each in (target, with_void)
    )
    assert torch.equal(expected, found)


def test_targets_that_do_not_fit_the_batch_are_refused() -> None:
    targets = make_targets([1, 1])
    with pytest.raises(UserError, match="2 images have 1 targets"):
        criterion()(make_output(1, 2, 3), targets[:1])
    targets[1].segment_ids = targets[1].segment_ids[:16]
    with pytest.raises(UserError, match=r"different sizes, \(16, 48\) and \(32, 48\)"):
        criterion()(make_output(1, 2, 3), targets)


class CallCounter(TorchDispatchMode):
    """Counts operators that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls += not func.is_view
        return func(*args, **(kwargs or {}))


def test_takes_a_fifth_of_the_operator_calls_of_transformers() -> None:
    output, targets = make_output(10, 4, 6), make_targets([2, 3, 1, 0])
    for each in (output.class_logits, output.mask_embeddings, output.mask_features):
        each.requires_grad_()
    with CallCounter() as ours:
        criterion()(output, targets)["loss"].backward()
    with CallCounter() as theirs:
        sum(reference_losses(output, targets).values()).backward()  # type: ignore[union-attr]
    assert ours.calls < theirs.calls / 5


def test_more_predictions_take_no_more_operator_calls() -> None:
    calls = []
    for predictions in (2, 10):
        output, targets = make_output(predictions, 2, 6), make_targets([2, 3])
        with CallCounter() as counter:
            criterion()(output, targets)
        calls.append(counter.calls)
    assert calls[0] == calls[1]


def test_each_cost_of_the_matching_has_its_own_weight() -> None:
    """Weights that differ, against costs mask by mask at the same points."""
    output, (target,) = make_output(1, 1, 4), make_targets([3])
    masks = target.masks.float()
    parts = {}
    for name in ("class_cost", "mask_cost", "dice_cost"):
        weights = {"class_cost": 0.0, "mask_cost": 0.0, "dice_cost": 0.0} | {name: 1.0}
        matcher = HungarianMatcher(**weights, num_points=NUM_POINTS)
        parts[name] = matcher.costs(output, [masks], [target.labels], torch.Generator().manual_seed(0))
    points = torch.rand(1, NUM_POINTS, 2, generator=torch.Generator().manual_seed(0))
    features = sample_points(output.mask_features, points)[0]
    for query in range(4):
        logits = output.mask_embeddings[0, 0, query] @ features
        for segment in range(3):
            truth = sample_points(masks[segment][None, None], points)[0, 0]
            found = {name: float(cost[0, 0, query, segment]) for name, cost in parts.items()}
            probability = logits.sigmoid()
            expected = {
                "class_cost": -float(output.class_logits[0, 0, query].softmax(0)[target.labels[segment]]),
                "mask_cost": float(functional.binary_cross_entropy_with_logits(logits, truth)),
                "dice_cost": float(
                    1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
                ),
            }
            assert found == pytest.approx(expected, abs=1e-5)
    all_costs = criterion(class_weight=2.0, mask_weight=5.0, dice_weight=3.0).matcher.costs(
        output, [masks], [target.labels], torch.Generator().manual_seed(0)
    )
    weighted = 2 * parts["class_cost"] + 5 * parts["mask_cost"] + 3 * parts["dice_cost"]
    torch.testing.assert_close(all_costs, weighted)


def test_each_loss_has_its_own_weight() -> None:
    output, targets = make_output(1, 1, 4), make_targets([3])
    weighted = criterion(class_weight=2.0, mask_weight=5.0, dice_weight=3.0)
    losses = weighted(output, targets, torch.Generator().manual_seed(0))
    expected = 2 * losses["class"] + 5 * losses["mask"] + 3 * losses["dice"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses["mask"].item() != pytest.approx(losses["dice"].item(), rel=0.01)
