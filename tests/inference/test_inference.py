"""Inference against the original Mask2Former loops, written out query by query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from modise_lightning.errors import UserError
from modise_lightning.inference.instance import InstanceAccumulator
from modise_lightning.inference.panoptic import PanopticAccumulator
from modise_lightning.inference.resize import resize_mask_logits
from modise_lightning.inference.semantic import SemanticAccumulator
from modise_lightning.inference.tiles import Tile, upsampled_tiles
from modise_lightning.metrics.evaluation import SegmentationMetrics
from modise_lightning.structures import InstanceSegmentation, PanopticSegmentation, SegmenterOutput
from outputs import all_masks, output_with_masks
from shipped_inference import shipped_inference

CONF = Path(__file__).parents[2] / "conf"
ISTHING = [True, True, False, False]
SEEDS = st.integers(0, 2**32 - 1)


def make_queries(seed: int, num_queries: int = 12, size: int = 20) -> tuple[Tensor, Tensor]:
    """Class probabilities (Q, 4), and mask probabilities (Q, H, W): soft discs, some much alike."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_queries, 5, generator=generator)
    center = size * torch.rand(num_queries // 2, 2, generator=generator).repeat(2, 1)
    center = center + torch.randn(center.shape, generator=generator)
    radius = 1 + size / 3 * torch.rand(num_queries, generator=generator)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = torch.hypot(y - center[:, :1, None], x - center[:, 1:, None])
    masks = (radius[:, None, None] - distance).sigmoid()
    return logits.softmax(-1)[:, :-1], masks


def cut(masks: Tensor, height: int, width: int) -> Iterator[tuple[Tile, Tensor]]:
    """Cut mask probabilities (Q, H, W) into tiles."""
    for top in range(0, masks.shape[1], height):
        for left in range(0, masks.shape[2], width):
            part = masks[:, top : top + height, left : left + width]
            rows, columns = slice(top, top + part.shape[1]), slice(left, left + part.shape[2])
            logits = part.logit()
            yield Tile(rows, columns, logits, logits.amax((1, 2)) + 1e-5), part


def panoptic_segmentation(
    classes: Tensor,
    masks: Tensor,
    isthing: list[bool],
    score_threshold: float,
    side: int = 7,
    no_object_competes: bool = False,
) -> PanopticSegmentation:
    panoptic = PanopticAccumulator(
        classes,
        1 - classes.sum(1),
        (masks.shape[1], masks.shape[2]),
        isthing=torch.tensor(isthing),
        score_threshold=score_threshold,
        no_object_competes=no_object_competes,
        overlap_threshold=0.8,
        mask_threshold=0.5,
    )
    for tile, part in cut(masks, side, side + 2):
        panoptic.add(tile, part)
    return panoptic.result()


def instance_segmentation(
    classes: Tensor, masks: Tensor, max_instances: int, side: int = 7
) -> InstanceSegmentation:
    instances = InstanceAccumulator(
        classes,
        (masks.shape[1], masks.shape[2]),
        isthing=torch.tensor(ISTHING),
        max_instances=max_instances,
        mask_threshold=0.5,
    )
    for tile, part in cut(masks, side, side + 2):
        instances.add(tile, part)
    return instances.result()


def slow_panoptic(
    class_probabilities: Tensor, masks: Tensor, score_threshold: float
) -> tuple[Tensor, list[int], list[float]]:
    """Mask2Former's ``panoptic_inference``, with the score over the classes without "no object"."""
    scores, labels = class_probabilities.max(-1)
    keep = scores > score_threshold
    scores, labels, masks = scores[keep], labels[keep], masks[keep]
    panoptic = torch.zeros(masks.shape[1:], dtype=torch.int64)
    segment_labels: list[int] = []
    segment_scores: list[float] = []
    stuff: dict[int, int] = {}
    if masks.shape[0] == 0:
        return panoptic, [], []
    winner = (scores.view(-1, 1, 1) * masks).argmax(0)
    for k in range(len(labels)):
        label = int(labels[k])
        mask_area = int((winner == k).sum())
        original_area = int((masks[k] >= 0.5).sum())
        mask = (winner == k) & (masks[k] >= 0.5)
        if mask_area > 0 and original_area > 0 and int(mask.sum()) > 0:
            if mask_area / original_area < 0.8:
                continue
            if not ISTHING[label]:
                if label in stuff:
                    panoptic[mask] = stuff[label]
                    old = segment_scores[stuff[label] - 1]
                    segment_scores[stuff[label] - 1] = max(old, float(scores[k]))
                    continue
                stuff[label] = len(segment_labels) + 1
            segment_labels.append(label)
            segment_scores.append(float(scores[k]))
            panoptic[mask] = len(segment_labels)
    return panoptic, segment_labels, segment_scores


@given(seed=SEEDS, score_threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8]), side=st.integers(3, 20))
@settings(max_examples=60, deadline=None)
def test_panoptic_equals_the_original_loop(seed: int, score_threshold: float, side: int) -> None:
    classes, masks = make_queries(seed)
    found = panoptic_segmentation(classes, masks, ISTHING, score_threshold, side)
    ids, labels, scores = slow_panoptic(classes, masks, score_threshold)
    assert torch.equal(found.segment_ids, ids)
    assert found.labels.tolist() == labels
    assert found.scores is not None
    assert found.scores.tolist() == scores


def test_the_examples_cover_every_branch() -> None:
    merged = dropped = 0
    for seed in range(40):
        classes, masks = make_queries(seed)
        _, labels, _ = slow_panoptic(classes, masks, 0.3)
        kept = int((classes.amax(1) > 0.3).sum())
        found = panoptic_segmentation(classes, masks, [True] * 4, 0.3)
        merged += len(found.labels) - len(labels)
        dropped += kept - len(found.labels)
    assert merged > 10
    assert dropped > 10


def test_a_query_whose_arg_max_is_no_object_makes_no_segment() -> None:
    """ODISE's and Mask2Former's rule: classes that share a query win with less than a half."""
    masks = torch.zeros(3, 4, 4)
    masks[0, :2], masks[1, 2], masks[2, 3] = 0.9, 0.9, 0.9
    classes = torch.tensor([[0.3, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.05], [0.25, 0.25, 0.0, 0.0]])
    labels = {
        (threshold, competes): panoptic_segmentation(
            classes, masks, [True] * 4, threshold, no_object_competes=competes
        ).segment_ids[:, 0]
        for threshold in (0.0, 0.35, 0.5)
        for competes in (False, True)
    }
    assert {key: [bool(row) for row in rows] for key, rows in labels.items()} == {
        (0.0, False): [True, True, True, True],
        (0.0, True): [False, False, True, False],
        (0.35, False): [False, False, True, False],
        (0.35, True): [False, False, True, False],
        (0.5, False): [False] * 4,
        (0.5, True): [False] * 4,
    }


def test_a_query_with_a_low_score_makes_a_segment() -> None:
    masks = torch.zeros(1, 4, 4)
    masks[0, :2] = 0.6
    found = panoptic_segmentation(torch.tensor([[0.2, 0.1, 0.0, 0.0]]), masks, ISTHING, 0.1)
    assert found.segment_ids.tolist() == [[1] * 4] * 2 + [[0] * 4] * 2
    assert found.labels.tolist() == [0]


def slow_instances(classes: Tensor, masks: Tensor, max_instances: int) -> list[tuple[float, int, Tensor]]:
    """Mask2Former's ``instance_inference``, pair by pair; empty masks left out."""
    pairs = [(float(classes[q, k]), q, k) for q in range(len(classes)) for k in range(classes.shape[1])]
    instances = []
    for probability, q, k in sorted(pairs, reverse=True)[:max_instances]:
        mask = masks[q] > 0.5
        if ISTHING[k] and mask.any():
            instances.append((probability * float(masks[q][mask].mean()), k, mask))
    return sorted(instances, key=lambda instance: -instance[0])


@given(seed=SEEDS, max_instances=st.sampled_from([1, 7, 100]), side=st.integers(3, 20))
@settings(max_examples=30, deadline=None)
def test_instances_equal_the_original_loop(seed: int, max_instances: int, side: int) -> None:
    classes, masks = make_queries(seed)
    masks[0] = 0.1  # one query has an empty mask
    found = instance_segmentation(classes, masks, max_instances, side)
    expected = slow_instances(classes, masks, max_instances)
    assert found.scores.tolist() == pytest.approx([score for score, _, _ in expected], rel=1e-5)
    assert found.labels.tolist() == [label for _, label, _ in expected]
    assert all(torch.equal(mask, other) for mask, (_, _, other) in zip(found.masks, expected, strict=True))
    assert found.masks.shape == (len(expected), 20, 20)


def test_semantic_is_the_sum_over_queries() -> None:
    classes, masks = make_queries(0)
    expected = sum(c[:, None, None] * m for c, m in zip(classes, masks, strict=True))
    assert isinstance(expected, Tensor)
    semantic = SemanticAccumulator(classes, (masks.shape[1], masks.shape[2]))
    for tile, part in cut(masks, 6, 9):
        semantic.add(tile, part)
    torch.testing.assert_close(semantic.result(), expected)


def test_masks_are_resized_like_the_original() -> None:
    logits = torch.randn(3, 8, 16)
    same = resize_mask_logits(logits, padded_size=(32, 64), image_size=(25, 50), output_size=(25, 50))
    padded = functional.interpolate(logits[None], size=(32, 64), mode="bilinear", align_corners=False)[0]
    assert torch.equal(same, padded[:, :25, :50])
    larger = resize_mask_logits(logits, padded_size=(32, 64), image_size=(25, 50), output_size=(75, 90))
    expected = functional.interpolate(
        padded[None, :, :25, :50], size=(75, 90), mode="bilinear", align_corners=False
    )
    assert torch.equal(larger, expected[0])


@pytest.mark.parametrize(
    ("padded", "image", "output"),
    [
        ((160, 224), (160, 224), (160, 224)),
        ((160, 224), (131, 200), (131, 200)),
        ((160, 224), (160, 190), (333, 395)),
        ((160, 224), (150, 224), (64, 96)),
        ((160, 224), (3, 5), (200, 7)),
    ],
)
def test_tiles_are_the_resized_masks(
    padded: tuple[int, int], image: tuple[int, int], output: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(3, padded[0] // 4, padded[1] // 4)
    sizes: dict[str, Any] = {"padded_size": padded, "image_size": image, "output_size": output}
    exact = functional.interpolate(logits.double()[None], padded, mode="bilinear")[
        ..., : image[0], : image[1]
    ]
    expected = functional.interpolate(exact, output, mode="bilinear")[0].float()
    torch.testing.assert_close(resize_mask_logits(logits, **sizes), expected, rtol=1e-5, atol=1e-4)
    found = torch.full_like(expected, torch.nan)
    tiles = 0
    for tile in upsampled_tiles(logits, **sizes):
        assert (tile.logits <= tile.largest[:, None, None]).all()
        found[:, tile.rows, tile.columns] = tile.logits
        tiles += 1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert tiles == -(-output[0] // 64) * -(-output[1] // 64)


def test_autocast_does_not_make_predictions_coarser() -> None:
    output = make_output(1)
    plain = shipped_inference()(output, (64, 64), [(64, 64)], [(100, 90)])[0]
    with torch.autocast("cpu", torch.bfloat16):
        cast = shipped_inference()(output, (64, 64), [(64, 64)], [(100, 90)])[0]
    assert torch.equal(plain.semantic, cast.semantic)
    assert torch.equal(plain.panoptic.segment_ids, cast.panoptic.segment_ids)


def make_output(num_images: int = 2) -> SegmenterOutput:
    """Two predictions of which the first one is nonsense; 16 x 16 mask logits of 64 x 64 inputs."""
    classes, masks = zip(*(make_queries(seed, size=16) for seed in range(num_images)), strict=True)
    probabilities = torch.stack(classes)
    null = 1 - probabilities.sum(-1, keepdim=True)
    class_logits = torch.cat([probabilities, null], -1).log()
    mask_logits = torch.stack(masks).logit(eps=1e-6)
    return output_with_masks(
        class_logits=torch.stack([-class_logits, class_logits]),
        mask_logits=torch.stack([-mask_logits, mask_logits]),
    )


def test_images_keep_their_own_sizes() -> None:
    # Mask2Former's thresholds, as in the loop that this is compared with.
    inference = shipped_inference(score_threshold=0.3, overlap_threshold=0.8, mask_threshold=0.5)
    output = make_output()
    image_sizes, output_sizes = [(64, 48), (40, 64)], [(64, 48), (100, 160)]
    predictions = inference(output, (64, 64), image_sizes, output_sizes)
    for index, (prediction, size) in enumerate(zip(predictions, output_sizes, strict=True)):
        assert prediction.panoptic.segment_ids.shape == size
        assert prediction.semantic.shape == (4, *size)
        assert prediction.instances.masks.shape[1:] == size
        classes = output.class_logits[-1, index].softmax(-1)[:, :-1]
        masks = resize_mask_logits(
            output.mask_logits()[index],
            padded_size=(64, 64),
            image_size=image_sizes[index],
            output_size=size,
        ).sigmoid()
        ids, labels, _ = slow_panoptic(classes, masks, 0.3)
        assert torch.equal(prediction.panoptic.segment_ids, ids)
        assert prediction.panoptic.labels.tolist() == labels
        assert len(labels) > 0
        assert not prediction.semantic.requires_grad


def test_all_things_together_are_the_sum_of_their_classes() -> None:
    output, sizes = make_output(), [(64, 64), (64, 64)]
    inference = shipped_inference()
    classes = inference(output, (64, 64), sizes, sizes)
    together = inference(output, (64, 64), sizes, sizes, semantic="any_thing")
    without = inference(output, (64, 64), sizes, sizes, semantic="none")
    for whole, one, none in zip(classes, together, without, strict=True):
        torch.testing.assert_close(one.semantic, whole.semantic[:2].sum(0, keepdim=True))
        assert none.semantic.shape == (0, 64, 64)
        assert torch.equal(one.panoptic.segment_ids, whole.panoptic.segment_ids)


def test_the_output_is_not_changed() -> None:
    output, untouched = make_output(1), make_output(1)
    shipped_inference()(output, (16, 16), [(16, 16)], [(16, 16)])
    assert torch.equal(output.mask_logits(), untouched.mask_logits())


def test_half_precision_outputs_are_computed_in_single_precision() -> None:
    output = make_output(1)
    half = output_with_masks(output.class_logits.bfloat16(), all_masks(output).bfloat16())
    prediction = shipped_inference()(half, (64, 64), [(64, 64)], [(64, 64)])[0]
    assert prediction.semantic.dtype == torch.float32


def test_no_query_is_sure_enough() -> None:
    output = output_with_masks(torch.zeros(1, 1, 3, 5), torch.ones(1, 1, 3, 4, 4))
    prediction = shipped_inference()(output, (16, 16), [(16, 16)], [(16, 16)])[0]
    assert prediction.panoptic.segment_ids.tolist() == [[0] * 16] * 16
    assert prediction.panoptic.labels.tolist() == []
    assert sorted(prediction.instances.labels.tolist()) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "changes",
    [{"score_threshold": 1.0}, {"overlap_threshold": 1.1}, {"mask_threshold": 0.0}, {"max_instances": 0}],
)
def test_values_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"inference.{next(iter(changes))} must be"):
        shipped_inference(**changes)


def test_what_chooses_the_checkpoint_does_not_depend_on_the_score_threshold() -> None:
    """With two classes no query is surer than 0.5: PQ is 0 at the default threshold, and AP is the same."""
    monitor = yaml.safe_load((CONF / "callbacks" / "default.yaml").read_text())["checkpoint"]["monitor"]
    split, name = monitor.split("/")
    assert (split, name) == ("validation", "mean_average_precision")
    settings = yaml.safe_load((CONF / "metrics" / "paper.yaml").read_text())
    del settings["_target_"], settings["_partial_"]
    target = PanopticSegmentation(torch.zeros(16, 16, dtype=torch.int64), torch.tensor([0, 1]))
    target.segment_ids[:8, :8], target.segment_ids[8:, 8:] = 1, 2
    mask_logits = 10 * torch.stack([mask.float() - 0.5 for mask in target.masks])[None, None]
    class_logits = torch.tensor([[[[0.8, 0.0, 0.6], [0.0, 0.8, 0.6]]]])
    output = output_with_masks(class_logits, mask_logits)
    measured = {}
    for threshold in (0.0, 0.5):
        inference = shipped_inference(isthing=[True, True], score_threshold=threshold)
        metrics = SegmentationMetrics(category_names=["a", "b"], isthing=[True, True], **settings)
        metrics.update(inference(output, (64, 64), [(64, 64)], [(16, 16)]), [target])
        result = metrics.compute()
        measured[threshold] = (result.average_precision, max(result.panoptic_quality))
    assert measured[0.0][0] == measured[0.5][0]
    assert max(measured[0.0][0]) > 0
    assert measured[0.0][1] > 0.5
    assert measured[0.5][1] == 0


def test_one_pixel_makes_an_instance_and_the_mask_threshold_itself_does_not() -> None:
    masks = torch.full((1, 4, 4), 0.1)
    masks[0, 1, 1], masks[0, 2, 2] = 0.9, 0.5
    instances = InstanceAccumulator(
        torch.tensor([[0.8]]), (4, 4), isthing=torch.tensor([True]), max_instances=1, mask_threshold=0.5
    )
    for tile, part in cut(masks, 4, 4):
        instances.add(tile, part)
    found = instances.result()
    assert torch.nonzero(found.masks).tolist() == [[0, 1, 1]]
    assert found.scores.tolist() == pytest.approx([0.8 * 0.9])


def test_the_borders_of_the_panoptic_rules() -> None:
    """A score must be larger than its threshold; a mask's pixel and a won share may equal theirs."""
    first, second = torch.full((5, 5), 0.1), torch.full((5, 5), 0.4)
    first[0], first[0, 1] = 0.9, 0.5
    second[0] = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    masks = torch.stack([first, second])  # the first wins four pixels of its five
    isthing = [True]
    found = panoptic_segmentation(torch.tensor([[0.75], [0.75]]), masks, isthing, 0.5)
    assert found.labels.tolist() == [0, 0]
    assert found.segment_ids[0].tolist() == [2, 1, 1, 1, 1]
    assert not found.segment_ids[1:].any()
    at_the_threshold = panoptic_segmentation(torch.tensor([[0.5], [0.75]]), masks, isthing, 0.5)
    assert at_the_threshold.segment_ids[0].tolist() == [1, 0, 0, 0, 0]
    # Of a mask of five pixels, two of which equal the threshold, three are won: too few.
    first[0], second[0] = torch.tensor([0.9, 0.9, 0.9, 0.5, 0.5]), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])
    lost = panoptic_segmentation(torch.tensor([[0.75], [0.75]]), torch.stack([first, second]), isthing, 0.5)
    assert lost.segment_ids[0].tolist() == [0, 0, 0, 1, 1]
