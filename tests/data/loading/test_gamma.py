"""Powers are drawn from the range, equally often below and above 1."""

import numpy as np
import pytest

from modise_lightning.data.loading.gamma import GammaChange
from modise_lightning.errors import UserError


def test_all_pixels_are_raised_to_one_power() -> None:
    image = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    gamma = GammaChange(probability=1.0, exponent_range=(0.7, 1.5))
    for seed in range(20):
        changed = gamma(image, np.random.default_rng(seed))
        power = np.log(changed[2, 3]) / np.log(image[2, 3])
        assert 0.7 <= power <= 1.5
        np.testing.assert_allclose(changed, image.astype(float) ** power, atol=1e-6)
        assert changed[0, 0] == 0
        assert changed[-1, -1] == 1


@pytest.mark.parametrize("exponents", [(0.7, 1.5), (0.5, 0.8), (1.2, 3.0), (1.0, 1.0)])
def test_powers_are_spread_over_the_range(exponents: tuple[float, float]) -> None:
    generator = np.random.default_rng(0)
    gamma = GammaChange(probability=1.0, exponent_range=exponents)
    drawn = np.array([gamma.draw_exponent(generator) for _ in range(2000)])
    low, high = exponents
    middle = 1.0 if low < 1 < high else (low + high) / 2
    assert drawn.min() >= low
    assert drawn.max() <= high
    assert drawn.max() - drawn.min() >= 0.98 * (high - low)
    if low < high:
        assert np.mean(drawn < middle) == pytest.approx(0.5, abs=0.06)


def test_some_images_stay_and_a_wrong_range_is_told() -> None:
    gamma = GammaChange(probability=0.3, exponent_range=(0.7, 1.5))
    image = np.full((2, 2), 0.5, dtype=np.float32)
    changed = sum(gamma(image, np.random.default_rng(seed)) is not image for seed in range(300))
    assert 60 < changed < 120  # 90 expected; five standard deviations are 40
    for wrong in ((0.0, 1.0), (2.0, 1.0), (1.0, float("inf"))):
        with pytest.raises(UserError, match=r"gamma\.exponent_range: "):
            GammaChange(probability=0.3, exponent_range=wrong)
