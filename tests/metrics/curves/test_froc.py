"""FROC curves, by hand and against a plain loop over the cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.metrics.curves.detections import Detections
from modise_lightning.metrics.curves.froc import froc_curve

RATES = [0.0, 0.125, 0.5, 1.0, 4.0]


def detections(
    scores: list[float],
    labels: list[int],
    truths: list[int],
    pairs: list[tuple[int, int, float]],
    images: int,
) -> Detections:
    return Detections(
        num_images=images,
        scores=np.array(scores, dtype=float),
        labels=np.array(labels, dtype=int),
        images=np.zeros(len(labels), dtype=int),
        truth_labels=np.array(truths, dtype=int),
        truth_images=np.zeros(len(truths), dtype=int),
        pair_detection=np.array([pair[0] for pair in pairs], dtype=int),
        pair_truth=np.array([pair[1] for pair in pairs], dtype=int),
        pair_iou=np.array([pair[2] for pair in pairs], dtype=float),
    )


def test_by_hand() -> None:
    """In two images with two lesions 0.9 hits the first, 0.8 none, 0.7 the first again, 0.6 the second."""
    curve = froc_curve(
        detections(
            [0.6, 0.9, 0.8, 0.7],
            [0, 0, 0, 0],
            [0, 0],
            [(1, 0, 0.5), (3, 0, 0.9), (0, 1, 0.1), (2, 1, 0.09)],
            images=2,
        ),
        threshold=0.1,
        label=None,
    )
    assert curve.false_positives.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert curve.sensitivity.tolist() == [0, 0.5, 0.5, 0.5, 1]
    assert curve.at([0, 0.49, 0.5, 8]).tolist() == [0.5, 0.5, 1, 1]


def test_a_detection_of_another_class_is_no_hit_unless_classes_do_not_count() -> None:
    mixed = detections([0.9], [1], [0], [(0, 0, 1.0)], images=1)
    assert froc_curve(mixed, threshold=0.5, label=None).at(0) == 1
    assert froc_curve(mixed, threshold=0.5, label=0).at([0, 9]).tolist() == [0, 0]
    of_the_other = froc_curve(mixed, threshold=0.5, label=1)
    assert of_the_other.false_positives.tolist() == [0, 1]
    assert np.isnan(of_the_other.sensitivity).all()


def by_loop(found: Detections, threshold: float, label: int | None, rate: float) -> float:
    """Try every cut, and count with plain loops."""
    best = 0.0
    lesions = [m for m, own in enumerate(found.truth_labels) if label in (None, own)]
    for cut in [2.0, *found.scores.tolist()]:
        shown = [
            n for n, score in enumerate(found.scores) if score >= cut and label in (None, found.labels[n])
        ]
        hits = {
            (n, m)
            for n, m, iou in zip(found.pair_detection, found.pair_truth, found.pair_iou, strict=True)
            if n in shown and m in lesions and iou >= threshold
        }
        false = len(shown) - len({n for n, _ in hits})
        if false / found.num_images <= rate:
            best = max(best, len({m for _, m in hits}) / len(lesions) if lesions else np.nan)
    return best if lesions else np.nan


@given(seed=st.integers(0, 2**32 - 1), label=st.sampled_from([None, 0, 1]))
def test_equals_a_loop(seed: int, label: int | None) -> None:
    generator = np.random.default_rng(seed)
    num_detections, num_truths = generator.integers(0, 8, 2).tolist()
    pairs = [
        (n, m, float(generator.random()))
        for n in range(num_detections)
        for m in range(num_truths)
        if generator.random() < 0.4
    ]
    found = detections(
        (generator.integers(0, 5, num_detections) / 4).tolist(),
        generator.integers(0, 2, num_detections).tolist(),
        generator.integers(0, 2, num_truths).tolist(),
        pairs,
        images=3,
    )
    curve = froc_curve(found, threshold=0.4, label=label)
    expected = [by_loop(found, 0.4, label, rate) for rate in RATES]
    np.testing.assert_allclose(curve.at(RATES), expected)


def test_rises_with_false_positives() -> None:
    generator = np.random.default_rng(0)
    pairs = [(n, n % 5, float(generator.random())) for n in range(30)]
    found = detections(generator.random(40).tolist(), [0] * 40, [0] * 5, pairs, images=4)
    curve = froc_curve(found, threshold=0.5, label=0)
    assert (np.diff(curve.false_positives) >= 0).all()
    assert (np.diff(curve.sensitivity) >= 0).all()
    assert curve.sensitivity[-1] == pytest.approx(len({m for _, m, iou in pairs if iou >= 0.5}) / 5)
