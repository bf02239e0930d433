"""Pasted lesions lie in the breast and on nothing that is labelled, and image and segments stay one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from modise_lightning.data.loading.copy_paste import CopyPaste, Donors, touching_things
from modise_lightning.data.prepared.dataset import PreparedDataset
from modise_lightning.data.prepared.writing import write_entry, write_index
from modise_lightning.errors import UserError
from modise_lightning.structures import Category, ImageRecord, PanopticSegmentation

IS_THING = [True, True, False]
FLAT = 3  # grey level of the donors' tissue around a lesion, in tenths


def copy_paste(**changes: Any) -> CopyPaste:
    values: dict[str, Any] = {
        "probability": 1.0,
        "maximum_lesions": 2,
        "scale_range": (1.0, 1.0),
        "feather": 0.05,
        "match_brightness": False,
        "attempts": 200,
    }
    return CopyPaste(**{**values, **changes})


def half_ellipse(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / (0.45 * height)) ** 2 + (x / (0.8 * width)) ** 2 < 1


def recipient(height: int, width: int) -> tuple[np.ndarray, PanopticSegmentation]:
    """A textured breast at the left with a lesion, a void spot, and a piece of stuff."""
    breast = half_ellipse(height, width)
    texture = np.random.default_rng(0).uniform(0.4, 0.6, (height, width))
    ids = np.zeros((height, width), dtype=np.int64)
    middle = height // 2
    ids[middle : middle + height // 8, 2 : 2 + width // 8] = 1
    ids[middle - height // 4 : middle - height // 8, : width // 4] = 2
    ids[middle - 3 : middle, width // 3 : width // 2] = -1
    return np.where(breast, texture, 0).astype(np.float32), PanopticSegmentation(
        torch.from_numpy(ids), torch.tensor([0, 2])
    )


def donor(height: int, width: int) -> tuple[np.ndarray, PanopticSegmentation]:
    """Three lesions of one grey level each, the third inside of the second; the level tells which it is."""
    ids = np.zeros((height, width), dtype=np.int64)
    ids[10:16, 5:11] = 1
    ids[30:42, 8:20] = 2
    ids[34:38, 12:16] = 3
    image = np.where(half_ellipse(height, width), FLAT / 10, 0)
    for segment, level in ((1, 0.7), (2, 0.8), (3, 0.9)):
        image[ids == segment] = level
    return image.astype(np.float32), PanopticSegmentation(torch.from_numpy(ids), torch.tensor([0, 1, 0]))


@given(
    height=st.integers(50, 90),
    width=st.integers(40, 90),
    seed=st.integers(0, 10_000),
    feather=st.sampled_from([0.0, 0.02, 0.05]),
    match=st.booleans(),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 1.5)]),
    colours=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_image_and_segments_stay_one(
    height: int,
    width: int,
    seed: int,
    feather: float,
    match: bool,
    scale: tuple[float, float],
    colours: bool,
) -> None:
    paste = copy_paste(feather=feather, match_brightness=match, scale_range=scale)
    (before, old), (image, lesions) = recipient(height, width), donor(60, 50)
    if colours:
        before, image = (np.stack([some, some / 2, some], axis=-1) for some in (before, image))
    kept = before.copy(), old.segment_ids.clone()
    after, new = paste((before, old), (image, lesions), IS_THING, np.random.default_rng(seed))
    assert np.array_equal(before, kept[0])
    assert torch.equal(old.segment_ids, kept[1])
    ids, old_ids = new.segment_ids.numpy(), old.segment_ids.numpy()
    number = len(old.labels)
    pasted = ids > number
    # Things and void stay whole; what was pasted covers background and stuff alone.
    assert np.isin(old_ids[pasted], [0, 2]).all()
    assert np.array_equal(ids[~pasted], old_ids[~pasted])
    assert new.labels[:number].tolist() == old.labels.tolist()
    assert set(np.unique(ids[pasted])) == set(range(number + 1, len(new.labels) + 1))
    changed = (after != before).reshape(height, width, -1).any(axis=-1)
    breast = half_ellipse(height, width)
    assert breast[pasted].all()
    assert breast[changed].all()
    assert not changed[np.isin(old_ids, [-1, 1])].any()
    if not len(new.labels) > number:
        assert not changed.any()
        return
    distance = ndimage.distance_transform_edt(~pasted)
    assert (distance[changed] <= feather * max(height, width) + 1).all()
    assert 0 <= after.min() <= after.max() <= 1


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_a_lesion_is_pasted_pixel_by_pixel_with_its_class(seed: int) -> None:
    """At its own size, with no change of brightness: its grey level says which lesion each pixel is of."""
    paste = copy_paste(maximum_lesions=3)
    (before, old), (image, lesions) = recipient(60, 50), donor(60, 50)
    after, new = paste((before, old), (image, lesions), IS_THING, np.random.default_rng(seed))
    ids = new.segment_ids.numpy()
    levels = {0.7: 1, 0.8: 2, 0.9: 3}
    areas = lesions.areas().tolist()
    found = []
    for segment in range(len(old.labels) + 1, len(new.labels) + 1):
        values = np.unique(after[ids == segment])
        assert len(values) == 1
        source = levels[round(float(values[0]), 3)]
        assert int(new.labels[segment - 1]) == int(lesions.labels[source - 1])
        assert int((ids == segment).sum()) == areas[source - 1]
        found.append(source)
    assert len(set(found)) == len(found)
    assert (2 in found) == (3 in found), "the one inside goes with the one around it"


def test_the_border_fades_from_the_lesion_to_the_breast() -> None:
    """One lesion on flat tissue into a flat breast: each pixel's weight is that of its distance."""
    image, lesions = donor(60, 50)
    lesions.segment_ids[lesions.segment_ids > 1] = 0
    image[(lesions.segment_ids == 0).numpy() & (image > 0)] = 0.3
    flat = np.where(half_ellipse(60, 50), np.float32(0.5), np.float32(0))
    empty = PanopticSegmentation(torch.zeros(60, 50, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    for match in (False, True):
        paste = copy_paste(feather=0.05, match_brightness=match)
        after, new = paste((flat, empty), (image, lesions), IS_THING, np.random.default_rng(1))
        pasted = new.segment_ids.numpy() == 1
        assert pasted.sum() == 36
        surround, shift = (0.5, 0.2) if match else (0.3, 0.0)
        np.testing.assert_allclose(after[pasted], 0.7 + shift, atol=1e-6)
        # The paper's "feather": a line from 1 at the lesion to 0 at four pixels, with the three between.
        weight = (1 - ndimage.distance_transform_edt(~pasted) / 4).clip(0, 1)
        expected = weight * surround + (1 - weight) * 0.5
        outside = ~pasted & half_ellipse(60, 50)
        np.testing.assert_allclose(after[outside], expected[outside], atol=1e-6)


def test_a_lesion_that_fits_nowhere_is_left_out() -> None:
    image, lesions = donor(60, 50)
    small = half_ellipse(60, 50) & (np.arange(50) < 4)
    before = np.where(small, np.float32(0.5), np.float32(0))
    empty = PanopticSegmentation(torch.zeros(60, 50, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    after, new = copy_paste()((before, empty), (image, lesions), IS_THING, np.random.default_rng(0))
    assert np.array_equal(after, before)
    assert len(new.labels) == 0


@pytest.mark.parametrize(
    ("ids", "labels", "expected"),
    [
        ([[1, 1, 0, 2]], [0, 0], [[1], [2]]),
        ([[1, 2, 0, 3]], [0, 0, 0], [[1, 2], [3]]),
        ([[1, 0, 0], [0, 2, 0]], [0, 0], [[1, 2]]),  # by a corner
        ([[1, 0, 2, 0, 1]], [0, 0], [[1], [2]]),
        ([[1, 2, 0, 3, 1]], [0, 0, 0], [[1, 2, 3]]),  # one in two parts joins what touches either
        ([[1, 3, 2]], [0, 0, 2], [[1], [2]]),  # stuff between
        ([[0, 0, 2]], [0, 0], [[2]]),  # the first has no pixel
        ([[-1, -1]], [], []),
    ],
)
def test_things_that_touch_are_one_group(ids: list[Any], labels: list[int], expected: list[Any]) -> None:
    target = PanopticSegmentation(torch.tensor(ids), torch.tensor(labels, dtype=torch.int64))
    assert touching_things(target, IS_THING) == expected


class Watched(PreparedDataset):
    """Notes which images are read."""

    read: list[int]

    def read_input(self, index: int) -> np.ndarray:
        self.read.append(index)
        return super().read_input(index)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Twelve images of six patients in three folds; every other one is subtracted, 8 and 9 have no lesion."""
    root = tmp_path_factory.mktemp("dataset")
    entries = []
    for index in range(12):
        image, target = donor(60, 50)
        ids = target.segment_ids.numpy() * (index not in (8, 9))
        record = ImageRecord(index, f"{index}.png", f"P{index // 2}", 60, 50)
        modality = {"modality": "subtracted" if index % 2 else "low energy"}
        pixels = (image * 255).astype(np.uint8)
        entries.append(write_entry(root, record, pixels, ids, target.labels.tolist(), modality))
    categories = [Category("a", ("a",)), Category("b", ("b",))]
    info = {"name": "test", "synthetic": True, "description": "made by a test", "license": "none"}
    write_index(root, info, categories, entries, [index // 4 for index in range(12)], 0)
    opened = Watched.open(root, categories)
    object.__setattr__(opened, "read", [])
    return opened


def test_donors_are_other_training_images_of_the_modality(dataset: Watched) -> None:
    training = [0, 1, 2, 3, 8, 9, 10, 11]
    donors = Donors(dataset, training, copy_paste())
    for index in (2, 3, 8):
        dataset.read.clear()
        for seed in range(40):
            donors.give(index, (dataset.read_image(index), dataset.read_target(index)), seed)
        others = {other for other in (0, 1, 2, 3, 10, 11) if other % 2 == index % 2} - {index}
        assert set(dataset.read) == others


def test_donors_are_of_the_same_source_and_its_classes_stay(dataset: Watched) -> None:
    """Another source may annotate classes that this one does not, whose absence here says nothing."""
    images = []
    for image in dataset.images:
        record = replace(image.entry.record, source="one" if len(images) < 4 else "other")
        images.append(replace(image, entry=replace(image.entry, record=record)))
    joint = replace(dataset, images=images)
    object.__setattr__(joint, "read", [])
    donors = Donors(joint, [0, 2, 4, 6, 10], copy_paste())
    annotated = torch.tensor([True, False])
    example = joint.read_image(0), replace(joint.read_target(0), annotated=annotated)
    joint.read.clear()
    results = [donors.give(0, example, seed) for seed in range(40)]
    assert set(joint.read) == {2}
    pasted = [target for _, target in results if target is not example[1]]
    assert pasted
    assert all(target.annotated is annotated for target in pasted)


def test_the_seed_decides_and_the_probability_is_kept(dataset: Watched) -> None:
    donors = Donors(dataset, [0, 2, 4], copy_paste(probability=0.3, maximum_lesions=1))
    example = dataset.read_image(0), dataset.read_target(0)
    results = [donors.give(0, example, seed) for seed in range(300)]
    again = [donors.give(0, example, seed) for seed in range(20)]
    for (image, target), (same, same_target) in zip(results[:20], again, strict=True):
        assert np.array_equal(image, same)
        assert torch.equal(target.segment_ids, same_target.segment_ids)
    given_lesions = sum(result is not example for result in results)
    assert 60 < given_lesions < 120  # 90 expected; five standard deviations are 40


def test_no_lesions_and_a_wrong_range_are_told(dataset: Watched) -> None:
    with pytest.raises(UserError, match=r"copy_paste: no training image of .* has a lesion"):
        Donors(dataset, [8, 9], copy_paste())
    with pytest.raises(UserError, match=r"copy_paste\.scale_range: \[2\.0, 1\.0\]"):
        copy_paste(scale_range=(2.0, 1.0))
    alone = Donors(dataset, [0, 8], copy_paste())
    example = dataset.read_image(0), dataset.read_target(0)
    assert alone.give(0, example, 1) is example
