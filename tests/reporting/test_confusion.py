"""The confusion of classes, by hand and against a search of all pairings."""

from itertools import permutations

import numpy as np
import pytest

from modise_lightning.metrics.records.evaluation_records import EvaluationRecords, make_table
from modise_lightning.reporting.confusion import count_confusion

NAMES = ["a", "b"]


def records(
    truth: list[tuple[int, str]],
    predicted: list[tuple[int, str]],
    iou: dict[tuple[int, int, int], float],
    source: str = "panoptic",
) -> EvaluationRecords:
    """Make records of segments (image, class) and of IoU by (image, predicted index, true index)."""
    rows: list[tuple[object, ...]] = []
    for kind, segments in (("truth", truth), (source, predicted)):
        seen: dict[int, int] = {}
        for image, name in segments:
            index = seen.get(image, 0)
            seen[image] = index + 1
            rows.append((image, kind, index, name, float("nan") if kind == "truth" else 0.5, 10, 0))
    overlaps: list[tuple[object, ...]] = [
        (image, source, predicted_index, true_index, value)
        for (image, predicted_index, true_index), value in iou.items()
    ]
    return EvaluationRecords(
        make_table("images", []), make_table("instances", rows), make_table("overlaps", overlaps)
    )


def test_by_hand() -> None:
    """Image 1: a found as a, b found as a, one a invented. Image 2: b missed. Image 3: b invented."""
    found = count_confusion(
        records(
            truth=[(1, "a"), (1, "b"), (2, "b")],
            predicted=[(1, "a"), (1, "a"), (1, "a"), (3, "b")],
            iou={(1, 0, 0): 0.6, (1, 1, 1): 0.4, (1, 2, 0): 0.3},
        ),
        category_names=NAMES,
        threshold=0.1,
    )
    assert found.names == ["a", "b", "nothing"]
    assert found.counts.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 0]]


def test_a_pair_has_to_exceed_the_threshold_and_to_be_of_the_source() -> None:
    one = records([(1, "a")], [(1, "b")], {(1, 0, 0): 0.5})
    assert count_confusion(one, category_names=NAMES, threshold=0.49).counts[0, 1] == 1
    assert count_confusion(one, category_names=NAMES, threshold=0.5).counts[0, 1] == 0
    other = count_confusion(one, category_names=NAMES, threshold=0.1, source="instance")
    assert other.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", range(10))
def test_the_pairing_has_the_largest_sum_of_iou(seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = 4
    iou = np.where(generator.random((size, size)) < 0.6, generator.random((size, size)), 0.0)
    names = generator.choice(NAMES, size=(2, size))
    pairs = {(1, row, column): iou[row, column] for row, column in np.argwhere(iou > 0.2).tolist()}
    found = count_confusion(
        records([(1, str(name)) for name in names[0]], [(1, str(name)) for name in names[1]], pairs),
        category_names=NAMES,
        threshold=0.2,
    )
    allowed = np.where(iou > 0.2, iou, 0.0)
    best = max(
        permutations(range(size)), key=lambda order: sum(allowed[order[true], true] for true in range(size))
    )
    expected = np.zeros((3, 3), dtype=int)
    for true, predicted in enumerate(best):
        row, column = NAMES.index(names[0][true]), NAMES.index(names[1][predicted])
        if allowed[predicted, true]:
            expected[row, column] += 1
        else:
            expected[row, 2] += 1
            expected[2, column] += 1
    assert found.counts.tolist() == expected.tolist()
