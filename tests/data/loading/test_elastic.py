"""Image and segments are bent alike, as a loop over the pixels bends them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modise_lightning.data.loading.elastic import ElasticDeformation


def sample(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """Bilinear, with the border repeated."""
    top, left = int(np.floor(row)), int(np.floor(column))
    total = np.zeros(image.shape[2:])
    for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - abs(row - y)) * (1 - abs(column - x))
        total = total + weight * image[np.clip(y, 0, len(image) - 1), np.clip(x, 0, image.shape[1] - 1)]
    return total


@given(
    height=st.integers(2, 20),
    width=st.integers(2, 20),
    channels=st.sampled_from([None, 3]),
    grid_size=st.integers(2, 5),
    deviation=st.sampled_from([0.0, 0.02, 0.2]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_every_pixel_comes_from_where_its_id_does(
    height: int, width: int, channels: int | None, grid_size: int, deviation: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    image = generator.random(shape, dtype=np.float32)
    ids = generator.integers(-1, 300, (height, width)).astype(np.int32)
    elastic = ElasticDeformation(probability=1.0, grid_size=grid_size, deviation=deviation)
    bent, bent_ids = elastic(image, ids, np.random.default_rng(seed))
    drawn = np.random.default_rng(seed)
    drawn.random()
    rows, columns = elastic.draw_positions((height, width), drawn)
    assert bent.shape == image.shape
    for y in range(height):
        for x in range(width):
            row, column = float(rows[y, x]), float(columns[y, x])
            # OpenCV rounds positions to a 32nd of a pixel; neighbours differ by at most 1.
            assert np.abs(bent[y, x] - sample(image, row, column)).max() < 0.07
            nearest = np.clip(round(row), 0, height - 1), np.clip(round(column), 0, width - 1)
            assert bent_ids[y, x] == ids[nearest]
    if deviation == 0:
        assert np.array_equal(bent, image)
        assert np.array_equal(bent_ids, ids)


def test_the_deviation_is_a_share_of_the_longer_side() -> None:
    """At the grid's points, which are in the middle of its cells."""
    elastic = ElasticDeformation(probability=1.0, grid_size=2, deviation=0.1)
    shifts = []
    for seed in range(400):
        rows, columns = elastic.draw_positions((42, 102), np.random.default_rng(seed))
        shifts += [rows[10, 25] - 10, columns[10, 25] - 25, rows[31, 76] - 31, columns[31, 76] - 76]
    assert np.std(shifts) == pytest.approx(10.2, rel=0.1)


def test_some_images_stay() -> None:
    elastic = ElasticDeformation(probability=0.3, grid_size=3, deviation=0.1)
    image, ids = np.eye(20, dtype=np.float32), np.eye(20, dtype=np.int32)
    bent = sum(elastic(image, ids, np.random.default_rng(seed))[0] is not image for seed in range(300))
    assert 60 < bent < 120  # 90 expected; five standard deviations are 40
