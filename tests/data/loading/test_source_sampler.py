"""The images of an epoch are divided between the sources by a temperature."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.data.loading.source_sampler import SourceSampler, SourceSampling
from modise_lightning.errors import UserError


def sampler(
    sizes: dict[str, int], temperature: float, images: int | None = None, rank: int = 0, world_size: int = 1
) -> SourceSampler:
    return SourceSampler(
        sources=[name for name, size in sizes.items() for _ in range(size)],
        sampling=SourceSampling(temperature=temperature, epoch_images=images),
        seed=4,
        rank=rank,
        world_size=world_size,
    )


@pytest.mark.parametrize(
    ("temperature", "images", "expected"),
    [
        (1.0, None, [900, 100]),  # by size
        (2.0, None, [750, 250]),  # sqrt(900) : sqrt(100) = 3 : 1
        (2.0, 40, [30, 10]),
        (math.inf, None, [500, 500]),
        (1.0, 2, [1, 1]),  # none is left out
    ],
)
def test_shares_by_hand(temperature: float, images: int | None, expected: list[int]) -> None:
    sampling = SourceSampling(temperature=temperature, epoch_images=images)
    assert sampling.images_of_sources([900, 100]) == expected


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    temperature=st.floats(1, 100),
    images=st.none() | st.integers(4, 100),
    world_size=st.integers(1, 3),
)
def test_an_epoch(sizes: list[int], temperature: float, images: int | None, world_size: int) -> None:
    named = {f"source {index}": size for index, size in enumerate(sizes)}
    ranks = [sampler(named, temperature, images, rank, world_size) for rank in range(world_size)]
    drawn = [list(each) for each in ranks]
    assert {len(each) for each in drawn} == {len(ranks[0])}
    alone = [index for index, _ in sampler(named, temperature, images)]
    assert len(alone) == (images or sum(sizes))
    # Every image of a source once before any comes again.
    first = 0
    for name, size in named.items():
        times = Counter({index: 0 for index in range(first, first + size)})
        times.update(index for index in alone if first <= index < first + size)
        assert sum(times.values()) == ranks[0].shares[name] >= 1
        assert max(times.values()) - min(times.values()) <= 1
        first += size


def test_how_often_each_image_comes_is_what_epochs_show() -> None:
    one = sampler({"a": 7, "b": 3}, 2.0, 13)
    epochs = 200
    shown: Counter[int] = Counter()
    for epoch in range(epochs):
        one.set_epoch(epoch)
        shown.update(index for index, _ in one)
    found = [shown[index] / epochs for index in range(10)]
    assert found == pytest.approx(one.times_an_epoch(), abs=0.15)
    assert sum(one.times_an_epoch()) == pytest.approx(13)


def test_epochs_differ_and_are_repeatable() -> None:
    one, other = sampler({"a": 20, "b": 5}, 2.0), sampler({"a": 20, "b": 5}, 2.0)
    first = list(one)
    assert first == list(other)
    one.set_epoch(1)
    assert list(one) != first
    other.set_epoch(1)
    assert list(one) == list(other)


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(UserError, match=r"data.temperature: 0.5; it must be at least 1"):
        SourceSampling(temperature=0.5, epoch_images=None)
    with pytest.raises(UserError, match=r"data.epoch_images: 1 images are fewer than the 2 sources"):
        SourceSampling(temperature=1, epoch_images=1).images_of_sources([5, 5])
