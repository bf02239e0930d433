"""The outcomes of images are those of their maps, and add up to the panoptic quality of the results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cross_validation_runs import NAMES, identity, write_measured_run, write_run_of
from modise_lightning.metrics.records.evaluation_records import read_records
from modise_lightning.reporting.html_report.outcomes import ImageOutcome, image_outcomes
from modise_lightning.structures import PanopticSegmentation
from report_runs import SCENES, Image, images_of, random_scenes


def outcomes_of(folder: Path, images: list[Image], threshold: float) -> list[ImageOutcome]:
    write_run_of(folder, identity("m", 0), NAMES, images)
    records = read_records(folder / "records" / "trained")
    return image_outcomes(records, fold=3, category_names=NAMES, threshold=threshold, matching="panopticapi")


def matched_ious(
    predicted: PanopticSegmentation, truth: PanopticSegmentation, threshold: float
) -> dict[tuple[int, int], float]:
    """Compare all masks; above 0.5 a segment has at most one match."""
    found = {}
    for first, (mask, label) in enumerate(zip(predicted.masks, predicted.labels.tolist(), strict=True)):
        for second, (other, its) in enumerate(zip(truth.masks, truth.labels.tolist(), strict=True)):
            counted = truth.segment_ids != -1
            union = ((mask | other) & counted).sum()
            iou = float((mask & other).sum() / union) if union else 0.0
            if label == its and iou > threshold:
                found[first, second] = iou
    return found


def test_scenes_have_the_outcomes_that_are_seen(tmp_path: Path) -> None:
    outcomes = {image.file_name: image for image in outcomes_of(tmp_path, images_of(SCENES), 0.3)}
    counts = [
        (image.num_matches, image.num_false_positives, image.num_missed)
        for image in (outcomes[name] for name, *_ in SCENES)
    ]
    assert counts == [(1, 0, 0), (1, 0, 1), (1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 1)]
    ious = [outcomes[name].iou for name, *_ in SCENES]
    assert ious == pytest.approx([1, 1 / 2, 1 / 3, math.nan, 0, 0], nan_ok=True)
    assert {image.fold for image in outcomes.values()} == {3}
    assert [segment.matched for segment in outcomes["image9.png"].truth] == [True, False]


def test_random_images_are_counted_as_their_masks_say(tmp_path: Path) -> None:
    images = images_of(random_scenes(np.random.default_rng(0), 40))
    for index, (_, _, target) in enumerate(images):
        target.segment_ids[: 2 * index] = -1  # void, over more and more of the segments
    outcomes = outcomes_of(tmp_path, images, 0.5)
    matches = 0
    for outcome, (record, prediction, target) in zip(outcomes, images, strict=True):
        found = matched_ious(prediction.panoptic, target, 0.5)
        void = target.segment_ids == -1
        there = [int(mask.sum()) for mask in target.masks]
        unmatched = set(range(len(prediction.panoptic.labels))) - {first for first, _ in found}
        false_positives = [
            index
            for index in unmatched
            if (mask := prediction.panoptic.masks[index]).any() and (mask & void).sum() <= mask.sum() / 2
        ]
        missed = {index for index, area in enumerate(there) if area} - {second for _, second in found}
        assert outcome.image_id == record.image_id
        assert outcome.num_matches == len(found)
        assert outcome.num_false_positives == len(false_positives)
        assert outcome.num_missed == len(missed)
        counted = len(found) + len(false_positives) + len(missed)
        expected = sum(found.values()) / counted if counted else math.nan
        assert outcome.iou == pytest.approx(expected, nan_ok=True)
        by_index = {segment.index: segment.iou for segment in outcome.predicted if segment.matched}
        assert by_index == pytest.approx({first: iou for (first, _), iou in found.items()})
        matches += len(found)
    assert matches > 20


@pytest.mark.parametrize("threshold", [0.1, 0.4, 0.7])
def test_they_add_up_to_the_panoptic_quality(threshold: float, tmp_path: Path) -> None:
    result = write_measured_run(tmp_path, "m", 0, 1, num_images=30, matching="hungarian")
    outcomes = image_outcomes(
        read_records(tmp_path / "records" / "trained"),
        fold=0,
        category_names=NAMES,
        threshold=threshold,
        matching="hungarian",
    )
    qualities = []
    for name in NAMES:
        predicted = [each for image in outcomes for each in image.predicted if each.category == name]
        truth = [each for image in outcomes for each in image.truth if each.category == name]
        ious = [each.iou for each in predicted if each.matched]
        unmatched = sum(not each.matched for each in (*predicted, *truth) if not each.is_void)
        qualities.append(sum(ious) / (len(ious) + unmatched / 2))
    assert np.mean(qualities) == pytest.approx(result.at(threshold)["panoptic_quality"])
    assert 0 < np.mean(qualities) < 1
