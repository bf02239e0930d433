"""Image and segments move together, and all randomness comes from the generator."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modise_lightning.data.images.background import find_breast
from modise_lightning.data.loading.transforms import (
    EvaluationTransform,
    TrainTransform,
    compact,
    crop,
    luminance,
    resize_ids,
    resize_image,
    to_rgb,
)
from modise_lightning.errors import UserError
from modise_lightning.structures import PanopticSegmentation


def transform(crop_size: int, scale_range: tuple[float, float], **changes: float) -> TrainTransform:
    values = {
        "flip_probability": 0.5,
        "brightness": 0.0,
        "contrast": 0.0,
        "trim_background": False,
        "padding_value": 0.0,
        "keep_emptied_segments": False,
        **changes,
    }
    return TrainTransform(crop_size=crop_size, scale_range=scale_range, **values)


def evaluation_transform(
    image_size: int | None,
    shorter_side: float | None = None,
    longer_side: float = 1.0,
    trim_background: bool = False,
) -> EvaluationTransform:
    return EvaluationTransform(
        image_size=image_size,
        shorter_side=shorter_side,
        longer_side=longer_side,
        trim_background=trim_background,
    )


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 3) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 4) ** 2).astype(np.float32)


@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    scale=st.floats(0.3, 2.0),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_an_image_that_is_its_own_mask_stays_so(height: int, width: int, scale: float, seed: int) -> None:
    image = disc(height, width)
    target = PanopticSegmentation(torch.from_numpy(image).long(), torch.tensor([4]))
    result, segments, size = transform(64, (scale, scale))(image, target, np.random.default_rng(seed))
    assert result.shape == (3, 64, 64)
    assert segments.segment_ids.shape == (64, 64)
    agreement = ((result[0] > 0.5) == (segments.segment_ids > 0)).float().mean()
    assert agreement > 0.95
    assert not result[:, size[0] :].any()
    assert not result[:, :, size[1] :].any()
    assert not segments.segment_ids[size[0] :].any()
    assert len(segments.labels) == int(segments.segment_ids.max())


@pytest.mark.parametrize("side", [70, 130, 500, 1700])
def test_resized_segments_lie_exactly_on_the_resized_image(side: int) -> None:
    image = np.zeros((1000, 1000), dtype=np.float32)
    image[301:699, 203:801] = 1
    ids = image.astype(np.int32)
    share = resize_image(image, side, side)
    wrong = (share > 0.5) != (resize_ids(ids, side, side) > 0)
    # Pixels that are half covered, and those at the four corners, may go either way.
    assert wrong[np.abs(share - 0.5) > 0.01].sum() <= 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 0}, r"train_transform\.crop_size: 0"),
        ({"scale_range": (0.0, 1.0)}, r"train_transform\.scale_range: \[0\.0, 1\.0\]"),
        ({"scale_range": (2.0, 1.0)}, r"train_transform\.scale_range: \[2\.0, 1\.0\]"),
        ({"flip_probability": 1.5}, r"train_transform\.flip_probability: 1\.5"),
        ({"brightness": -0.1}, r"train_transform\.brightness: -0\.1"),
        ({"contrast": float("nan")}, r"train_transform\.contrast: nan"),
    ],
)
def test_impossible_ranges_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        transform(**{"crop_size": 64, "scale_range": (0.1, 2.0), **changes})


def test_an_impossible_evaluation_size_is_told() -> None:
    with pytest.raises(UserError, match=r"evaluation_transform\.image_size: 0"):
        evaluation_transform(0)
    with pytest.raises(UserError, match=r"evaluation_transform\.shorter_side: -1"):
        evaluation_transform(100, shorter_side=-1)


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.1, (3, 6)), (0.5, (16, 32)), (1.0, (32, 64)), (2.0, (64, 64))]
)
def test_the_longer_side_is_the_crop_times_the_factor(factor: float, expected: tuple[int, int]) -> None:
    image = np.full((50, 100), 0.5, dtype=np.float32)
    target = PanopticSegmentation(torch.zeros(50, 100, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    result, _, size = transform(64, (factor, factor))(image, target, np.random.default_rng(0))
    assert size == expected
    assert result[0, : size[0], : size[1]].all()
    assert int((result[0] > 0).sum()) == size[0] * size[1]


def test_a_crop_may_lose_every_segment() -> None:
    ids = torch.zeros(100, 100, dtype=torch.int64)
    ids[:2, :2] = 1
    target = PanopticSegmentation(ids, torch.tensor([2]))
    change = transform(50, (2.0, 2.0), flip_probability=0.0)
    found = set()
    for seed in range(300):
        result = change(np.zeros((100, 100), np.float32), target, np.random.default_rng(seed))[1]
        assert len(result.labels) == int(result.segment_ids.max())
        found.add(len(result.labels))
    assert found == {0, 1}


def test_all_randomness_comes_from_the_generator() -> None:
    image = np.random.default_rng(0).random((50, 40), dtype=np.float32)
    target = PanopticSegmentation(torch.ones(50, 40, dtype=torch.int64), torch.tensor([0]))
    change = transform(32, (0.5, 2.0), brightness=0.2, contrast=0.2)
    first, again, other = (change(image, target, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 1


def test_a_certain_flip_mirrors_image_and_segments() -> None:
    image = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, axis=0)
    ids = torch.zeros(32, 32, dtype=torch.int64)
    ids[:, :4] = 1
    target = PanopticSegmentation(ids, torch.tensor([0]))
    arguments = (image, target, np.random.default_rng(0))
    flipped, segments, _ = transform(32, (1.0, 1.0), flip_probability=1.0)(*arguments)
    assert np.allclose(flipped[0].numpy(), image[:, ::-1])
    assert torch.equal(segments.segment_ids, ids.flip(1))


def test_brightness_and_contrast_have_their_bounds() -> None:
    image = np.full((16, 16), 0.5, dtype=np.float32)
    image[:8] = 0.3
    target = PanopticSegmentation(torch.zeros(16, 16, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    change = transform(16, (1.0, 1.0), brightness=0.1, contrast=0.2, flip_probability=0.0)
    for seed in range(50):
        result = change(image, target, np.random.default_rng(seed))[0][0]
        assert abs(float(result.mean()) - 0.4) <= 0.1 + 1e-6
        assert 0.8 * 0.2 - 1e-6 <= float(result[8].mean() - result[0].mean()) <= 1.2 * 0.2 + 1e-6


def test_lost_segments_are_left_out_and_void_stays() -> None:
    ids = np.array([[0, 3, -1], [1, 3, 0]], dtype=np.int32)
    result = compact(ids, torch.tensor([5, 6, 7]))
    assert result.segment_ids.tolist() == [[0, 2, -1], [1, 2, 0]]
    assert result.labels.tolist() == [5, 7]
    nothing = compact(np.zeros((2, 2), dtype=np.int32), torch.tensor([5]))
    assert nothing.labels.tolist() == []


@pytest.mark.parametrize(("longest", "expected"), [(None, (40, 60)), (30, (20, 30)), (120, (80, 120))])
def test_evaluation_keeps_the_aspect(longest: int | None, expected: tuple[int, int]) -> None:
    image = evaluation_transform(longest)(np.zeros((40, 60), dtype=np.float32))[0]
    assert image.shape == (3, *expected)


def resize_shortest_edge(height: int, width: int, shorter: int, longer: int) -> tuple[int, int]:
    """The rule of detectron2's ``ResizeShortestEdge``, in its own two steps."""
    scale = shorter / min(height, width)
    sides = [shorter, scale * width] if height < width else [scale * height, shorter]
    if max(sides) > longer:
        sides = [side * longer / max(sides) for side in sides]
    return int(sides[0] + 0.5), int(sides[1] + 0.5)


@pytest.mark.parametrize(("shorter", "longer"), [(1.0, 2.5), (0.78125, 1.301758)])
@pytest.mark.parametrize(
    "shape", [(2294, 1914), (3328, 2560), (512, 512), (700, 3000), (3000, 700), (480, 640), (4096, 1311)]
)
def test_evaluation_sizes_are_detectron2s(shape: tuple[int, int], shorter: float, longer: float) -> None:
    """ODISE's 1024 and 2560 pixels, and Mask2Former's 800 and 1333, at their image size of 1024."""
    pixels = {1.0: (1024, 2560), 0.78125: (800, 1333)}[shorter]
    found = evaluation_transform(1024, shorter, longer).resized(*shape)
    assert found == resize_shortest_edge(*shape, *pixels)


def test_crops_are_padded_with_the_given_value_and_keep_what_they_emptied() -> None:
    image = np.zeros((40, 40), dtype=np.float32)
    ids = torch.zeros(40, 40, dtype=torch.int64)
    ids[:2, :2], ids[-2:, -2:] = 1, 2
    target = PanopticSegmentation(ids, torch.tensor([4, 6]))
    large = transform(16, (2.5, 2.5), keep_emptied_segments=True)
    emptied = 0
    for seed in range(10):
        _, segments, _ = large(image, target, np.random.default_rng(seed))
        assert segments.labels.tolist() == [4, 6]
        assert segments.masks.shape == (2, 16, 16)
        emptied += int((~segments.masks.flatten(1).any(1)).sum())
    assert emptied > 5
    pixels, segments, size = transform(16, (0.5, 0.5), padding_value=128 / 255)(
        image, target, np.random.default_rng(0)
    )
    assert size == (8, 8)
    assert pixels[:, :8, :8].max() == 0
    assert torch.equal(pixels[:, 8:].unique(), torch.tensor([128 / 255]))
    assert not segments.segment_ids[8:].any()


def test_shrinking_averages() -> None:
    image = np.indices((64, 64)).sum(0).astype(np.float32) % 2  # a checkerboard aliases without averaging
    assert np.allclose(resize_image(image, 16, 16), 0.5)


def test_trimming_comes_before_everything_else() -> None:
    image = np.zeros((90, 60), dtype=np.float32)
    image[20:70, :40] = np.random.default_rng(0).uniform(0.3, 0.9, (50, 40))
    ids = np.zeros(image.shape, dtype=np.int64)
    ids[30:50, 5:30] = 1
    target = PanopticSegmentation(torch.from_numpy(ids), torch.tensor([3]))
    box = find_breast(image)
    assert (box.height, box.width) < (60, 50)
    part = PanopticSegmentation(torch.from_numpy(crop(ids, box)), target.labels)
    change = {"crop_size": 32, "scale_range": (0.5, 2.0), "contrast": 0.2}
    for seed in range(5):
        trimmed, segments, size = transform(**change, trim_background=True)(
            image, target, np.random.default_rng(seed)
        )
        expected, same, expected_size = transform(**change)(
            crop(image, box), part, np.random.default_rng(seed)
        )
        assert torch.equal(trimmed, expected)
        assert torch.equal(segments.segment_ids, same.segment_ids)
        assert size == expected_size
    pixels, shown = evaluation_transform(None, trim_background=True)(image)
    assert shown == box
    assert torch.equal(pixels, to_rgb(crop(image, box)))


def test_colours_go_the_way_of_grey_values() -> None:
    """Each channel of colours becomes what it would become as grey values; intensity changes are shared."""
    generator = np.random.default_rng(0)
    image = generator.random((50, 70, 3), dtype=np.float32)
    target = PanopticSegmentation(torch.from_numpy(disc(50, 70)).long(), torch.tensor([0]))
    augment = transform(64, (0.9, 1.4), padding_value=0.5)
    coloured, segments, size = augment(image, target, np.random.default_rng(3))
    for channel in range(3):
        grey, others, same = augment(image[..., channel], target, np.random.default_rng(3))
        torch.testing.assert_close(coloured[channel], grey[channel], rtol=1e-5, atol=1e-6)
        assert torch.equal(others.segment_ids, segments.segment_ids)
        assert same == size
    whole, region = evaluation_transform(40)(image)
    assert whole.shape == (3, 29, 40)
    assert (region.height, region.width) == (50, 70)
    assert torch.equal(whole[1], evaluation_transform(40)(image[..., 1])[0][0])


def test_luminance_is_that_of_pillow() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L"), dtype=np.float32) / 255
    np.testing.assert_allclose(luminance(colours.astype(np.float32) / 255), expected, atol=1 / 255)
    assert luminance(expected) is expected
