"""The box around the breast holds the breast, and no outlined finding of real mammograms is cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.data.images.background import find_breast
from modise_lightning.data.images.reading import read_image_file
from modise_lightning.data.preparation.via_shapes import bears_area, rasterize
from modise_lightning.data.sources.cdd_cesm.tables import find_files, read_regions
from modise_lightning.structures import Region

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "cdd_cesm_512"


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(60, 700), st.integers(60, 700)),
    place=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    extent=st.tuples(st.floats(0.3, 0.5), st.floats(0.3, 0.5)),
    seed=st.integers(0, 1000),
)
def test_the_box_holds_a_bright_rectangle_and_little_more(
    shape: tuple[int, int], place: tuple[float, float], extent: tuple[float, float], seed: int
) -> None:
    image = np.random.default_rng(seed).uniform(0, 0.02, shape).astype(np.float32)
    top, left = (int(share * side) for share, side in zip(place, shape, strict=True))
    height, width = (max(12, int(share * side)) for share, side in zip(extent, shape, strict=True))
    image[top : top + height, left : left + width] = 0.6
    box = find_breast(image)
    assert 0 <= box.top <= top
    assert 0 <= box.left <= left
    assert min(shape[0], top + height) <= box.top + box.height <= shape[0]
    assert min(shape[1], left + width) <= box.left + box.width <= shape[1]
    slack = 0.02 * max(shape) + 2 * max(1.0, max(shape) / 256) + 1
    assert max(top - box.top, left - box.left) <= slack
    assert max(box.top + box.height - top - height, box.left + box.width - left - width) <= slack


def test_a_small_bright_label_is_no_breast() -> None:
    image = np.zeros((400, 300), dtype=np.float32)
    image[100:350, :150] = 0.5
    image[10:30, 250:290] = 1
    box = find_breast(image)
    assert box.top > 60
    assert box.left + box.width < 200


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_an_image_without_contrast_stays_whole(value: float) -> None:
    assert find_breast(np.full((30, 40), value, dtype=np.float32)) == Region(0, 0, 30, 40)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not here")
def test_no_finding_of_real_mammograms_is_cut_off() -> None:
    files = find_files(str(REAL))
    regions, _ = read_regions(files.regions)
    names = sorted(name for name in files.images if name in regions)[::12]
    assert len(names) > 20
    kept = []
    for name in names:
        image = read_image_file(files.images[name])
        box = find_breast(image)
        kept.append(box.height * box.width / image.size)
        for region in regions[name]:
            if bears_area(region.shape):
                drawn = rasterize(region.shape, *image.shape)
                whole = np.zeros(image.shape, dtype=bool)
                whole[drawn.window] = drawn.mask
                cut = whole.copy()
                cut[box.top : box.top + box.height, box.left : box.left + box.width] = False
                assert not cut.any()
    assert np.mean(kept) < 0.7
