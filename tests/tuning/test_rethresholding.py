"""Queries that are predicted once give under each setting what inference gives with it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.inference.combining import CombinedImage
from modise_lightning.inference.views import PlacedLogits, View
from modise_lightning.metrics.segments.functional import panoptic_counts
from modise_lightning.structures import PanopticSegmentation, Region
from modise_lightning.tuning.rethresholding import count_image, segment
from modise_lightning.tuning.settings import Candidate
from shipped_inference import shipped_fusion, shipped_inference

SIZE, OUTPUT = (64, 64), (80, 72)


def image_of(seed: int, members: int, score: float, overlap: float, mask: float) -> CombinedImage:
    """Soft discs, some of them much alike, of one or more members."""
    generator = torch.Generator().manual_seed(seed)
    rules = shipped_inference(score_threshold=score, overlap_threshold=overlap, mask_threshold=mask)
    image = CombinedImage(
        rules,
        shipped_fusion(),
        image_size=SIZE,
        output_size=OUTPUT,
        total_weight=float(members),
        semantic="none",
    )
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    center = 16 * torch.rand(5, 2, 1, 1, generator=generator)
    for _ in range(members):
        moved = center + 0.3 * torch.randn(center.shape, generator=generator)
        distance = torch.hypot(rows - moved[:, 0], columns - moved[:, 1])
        masks = 1 + 4 * torch.rand(5, 1, 1, generator=generator) - distance
        classes = (3 * torch.randn(5, 5, generator=generator)).softmax(-1)
        image.add(classes, PlacedLogits(masks, SIZE, SIZE), View("none", 1.0), 1.0)
    return image


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_each_setting_gives_what_inference_gives(seed: int, members: int) -> None:
    candidates = [
        Candidate(("none",), *values) for values in product((0.05, 0.3, 0.6), (0.2, 0.8), (0.3, 0.5))
    ]
    found = segment(image_of(seed, members, 0.5, 0.8, 0.5), candidates)
    for candidate, own in zip(candidates, found, strict=True):
        rules = (candidate.score_threshold, candidate.overlap_threshold, candidate.mask_threshold)
        expected = image_of(seed, members, *rules).result().panoptic
        assert torch.equal(own.segment_ids, expected.segment_ids)
        assert torch.equal(own.labels, expected.labels)


def test_counts_are_those_of_the_whole_image() -> None:
    truth_ids = torch.zeros(6, 8, dtype=torch.int64)
    truth_ids[1:4, 2:5] = 1
    truth = PanopticSegmentation(truth_ids, torch.tensor([1]))
    ids = torch.zeros(4, 5, dtype=torch.int64)
    ids[0:3, 0:3], ids[3, 4] = 1, 2
    found = PanopticSegmentation(ids, torch.tensor([1, 0]), torch.tensor([0.9, 0.8]))
    nothing = PanopticSegmentation(torch.zeros(4, 5, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    counts = count_image(
        [found, nothing, found],
        truth,
        Region(1, 2, 4, 5),
        num_categories=2,
        threshold=0.5,
        matching="panopticapi",
    )
    # Class 0: a false positive; class 1: a match with IoU 1, or a miss.
    assert counts[0].tolist() == [[0, 1], [1, 0], [0, 0], [0, 1.0]]
    assert counts[1].tolist() == [[0, 0], [0, 0], [0, 1], [0, 0]]
    assert np.array_equal(counts[0], counts[2])
    placed = PanopticSegmentation(torch.zeros(6, 8, dtype=torch.int64), found.labels, found.scores)
    placed.segment_ids[1:5, 2:7] = ids
    expected = panoptic_counts(placed, truth, num_categories=2, thresholds=[0.5], matching="panopticapi")
    assert counts[0][3].tolist() == pytest.approx(expected.iou_sum[0].tolist())
