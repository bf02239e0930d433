"""Overlays show each segment in its colour, keep the tissue visible and their labels inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from modise_lightning.reporting.pictures.overlay import draw_instances, draw_overlay, to_grey_picture
from modise_lightning.structures import Category, InstanceSegmentation, PanopticSegmentation

SKY, ORANGE = (86, 180, 233), (230, 159, 0)
CATEGORIES = (Category("benign", ("benign",), color=SKY), Category("malignant", ("malignant",), color=ORANGE))


def segmentation(
    ids: NDArray[np.int64], labels: list[int], scores: list[float] | None = None
) -> PanopticSegmentation:
    return PanopticSegmentation(
        torch.from_numpy(ids), torch.tensor(labels), None if scores is None else torch.tensor(scores)
    )


def discs(height: int, width: int, *places: tuple[int, int, int]) -> NDArray[np.int64]:
    y, x = np.mgrid[:height, :width]
    ids = np.zeros((height, width), dtype=np.int64)
    for index, (centre_y, centre_x, radius) in enumerate(places, start=1):
        ids[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2] = index
    return ids


def outline_of(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels with more of a segment's colour than the fill's fifth; the rest of the picture is grey."""
    chroma = np.ptp(picture.astype(int), axis=-1) / min(max(color) - min(color) for color in (SKY, ORANGE))
    return np.asarray(chroma > 0.4)


def close_to(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((np.abs(picture.astype(int) - color) <= 25).all(axis=-1))


@pytest.mark.parametrize("side", [64, 256, 1000])
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_fill_tints_inside_and_outline_runs_just_outside(side: int, grey: float) -> None:
    image = np.full((side, side), grey, dtype=np.float32)
    ids = discs(side, side, (side // 2, side // 2, side // 5))
    picture = draw_overlay(image, segmentation(ids, [1]), CATEGORIES, show_labels=False)
    inside = ndimage.binary_erosion(ids == 1, iterations=max(3, side // 100))
    expected = 0.8 * round(grey * 255) + 0.2 * np.asarray(ORANGE)
    assert np.abs(picture[inside] - expected).max() <= 1
    # The outline closes around the segment: what is inside of it is cut off from the picture's corner.
    outline = outline_of(picture)
    distance = ndimage.distance_transform_edt(ids == 0)
    assert (distance[outline] <= 2 + side / 300).all()
    regions, _ = ndimage.label(~outline)
    assert regions[side // 2, side // 2] != regions[0, 0]
    # Far from the segment nothing changes.
    np.testing.assert_array_equal(picture[distance > 4 + side / 100], round(grey * 255))


def test_every_component_and_hole_has_an_outline() -> None:
    ids = discs(300, 300, (100, 100, 50), (220, 220, 20))
    ids[ids == 2] = 1
    ids[discs(300, 300, (100, 100, 20)) == 1] = 0
    ids[20, 280] = 1
    picture = draw_overlay(
        np.zeros((300, 300), np.float32), segmentation(ids, [0]), CATEGORIES, show_labels=False
    )
    outline = ndimage.binary_dilation(outline_of(picture))
    for y, x in [(100, 49), (100, 121), (220, 199), (20, 281)]:
        assert outline[y - 1 : y + 2, x - 1 : x + 2].any()


def test_void_is_grey_and_segments_without_pixels_are_left_out() -> None:
    ids = np.zeros((100, 100), dtype=np.int64)
    ids[10:40, 10:40] = -1
    picture = draw_overlay(
        np.full((100, 100), 1, np.float32), segmentation(ids, [0, 1], [0.5, 0.5]), CATEGORIES
    )
    assert (picture[20, 20] == round(0.8 * 255 + 0.2 * 128)).all()
    assert (picture[60:, 60:] == 255).all()


def test_an_image_of_another_size_is_resized() -> None:
    image = np.zeros((50, 40), dtype=np.float32)
    image[:25] = 1
    picture = draw_overlay(image, segmentation(np.zeros((200, 160), np.int64), []), CATEGORIES)
    assert picture.shape == (200, 160, 3)
    assert (picture[:90] == 255).all()
    assert (picture[110:] == 0).all()


@pytest.mark.parametrize("side", [256, 512, 1500])
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5), (0, 0.5)])
def test_labels_hide_no_segment_and_are_whole(side: int, place: tuple[float, float]) -> None:
    centre_y, centre_x = (round(share * (side - 1)) for share in place)
    ids = discs(side, side, (centre_y, centre_x, side // 12), (side // 3, side // 3, side // 20))
    image = np.zeros((side, side), dtype=np.float32)
    truth = segmentation(ids, [1, 0], [0.77, 0.5])
    bare = draw_overlay(image, truth, CATEGORIES, show_labels=False)
    labelled = draw_overlay(image, truth, CATEGORIES)
    changed = (bare != labelled).any(axis=-1)
    assert not changed[ids > 0].any()
    # Letters are white; each label's width is that of its text wherever it stands.
    ink = (labelled > 200).all(axis=-1)
    boxes = ndimage.find_objects(ndimage.label(ndimage.binary_dilation(ink, iterations=side // 40))[0])
    assert len(boxes) == 2
    widths = [np.nonzero(ink[:, box[1]].any(axis=0))[0] for box in boxes]
    letter = max(11, round(side / 44))
    assert all(np.ptp(width) > 4.5 * letter for width in widths)


def test_a_label_stands_at_its_segment_with_free_space_around() -> None:
    ids = discs(512, 512, (300, 200, 30))
    image = np.zeros((512, 512), dtype=np.float32)
    labelled = draw_overlay(image, segmentation(ids, [1]), CATEGORIES)
    rows, columns = np.nonzero((labelled > 200).all(axis=-1))
    assert 240 < rows.min() < rows.max() < 270
    assert abs((columns.min() + columns.max()) / 2 - 200) < 10


@pytest.mark.parametrize("shape", [(5, 5), (1, 900), (30, 40), (900, 1), (64, 64)])
def test_tiny_and_narrow_images_are_drawn(shape: tuple[int, int]) -> None:
    ids = np.ones(shape, dtype=np.int64)
    picture = draw_overlay(np.zeros(shape, np.float32), segmentation(ids, [1], [0.5]), CATEGORIES)
    assert picture.shape == (*shape, 3)
    assert picture.dtype == np.uint8


def test_many_labels_of_one_place_do_not_cover_each_other() -> None:
    masks = torch.zeros((6, 400, 400), dtype=torch.bool)
    masks[:, 180:220, 180:220] = True
    instances = InstanceSegmentation(masks, torch.zeros(6, dtype=torch.int64), torch.linspace(0.4, 0.9, 6))
    picture = draw_instances(np.zeros((400, 400), np.float32), instances, CATEGORIES)
    ink = (picture > 200).all(axis=-1)
    _, count = ndimage.label(ndimage.binary_dilation(ink, np.ones((3, 7)), iterations=1))
    assert count == 6


def test_instances_overlap_with_the_most_certain_on_top() -> None:
    masks = torch.zeros((2, 200, 200), dtype=torch.bool)
    masks[0, 50:120, 50:120] = True
    masks[1, 90:160, 90:160] = True
    image = np.zeros((200, 200), dtype=np.float32)
    for top, scores in ((0, [0.9, 0.5]), (1, [0.5, 0.9])):
        picture = draw_instances(
            image, InstanceSegmentation(masks, torch.tensor([0, 1]), torch.tensor(scores)), CATEGORIES
        )
        # Outlines cross at (120, 89) and (89, 120).
        assert close_to(picture, (SKY, ORANGE)[top])[120, 89]
        assert close_to(picture, (SKY, ORANGE)[top])[89, 120]
        both = picture[105, 105].astype(float)
        assert (
            np.abs(
                both - 0.8 * 0.2 * np.asarray((SKY, ORANGE)[1 - top]) - 0.2 * np.asarray((SKY, ORANGE)[top])
            ).max()
            < 2
        )


def test_grey_picture_is_clipped() -> None:
    picture = to_grey_picture(np.array([[-1, 0, 0.5, 1, 2]], dtype=np.float32))
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]
