"""The order and the images' seeds depend on the seed and the epoch alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modise_lightning.data.loading.sampler import SeededSampler


def epoch(length: int, seed: int, number: int, rank: int = 0, world_size: int = 1) -> list[tuple[int, int]]:
    sampler = SeededSampler(length=length, seed=seed, rank=rank, world_size=world_size)
    sampler.set_epoch(number)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


@given(length=st.integers(1, 40), world_size=st.integers(1, 5), number=st.integers(0, 3))
def test_processes_share_the_epoch_evenly(length: int, world_size: int, number: int) -> None:
    shares = [epoch(length, 0, number, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert {index for share in shares for index, _ in share} == set(range(length))
    alone = epoch(length, 0, number)
    assert sorted(index for index, _ in alone) == list(range(length))


@given(
    length=st.integers(1, 30),
    others=st.integers(1, 12),
    share=st.floats(0.05, 0.9),
    world_size=st.integers(1, 3),
)
def test_a_share_of_each_epoch_is_drawn_from_the_others(
    length: int, others: int, share: float, world_size: int
) -> None:
    drawn: list[int] = []
    for rank in range(world_size):
        sampler = SeededSampler(
            length=length, seed=3, rank=rank, world_size=world_size, others=others, share=share
        )
        sampler.set_epoch(1)
        own = [index for index, _ in sampler]
        assert len(own) == len(sampler)
        drawn += own
    wanted = round(length * share / (1 - share))
    assert set(range(length)) <= set(drawn)
    assert len(drawn) - (length + wanted) in range(world_size)  # the last round is filled up
    counts = [drawn.count(length + other) for other in range(others)]
    if world_size == 1:
        assert sum(counts) == wanted
        assert max(counts) - min(counts) <= 1


def test_other_normals_are_drawn_in_another_epoch() -> None:
    sampler = SeededSampler(length=10, seed=0, others=100, share=0.5)
    chosen = []
    for number in range(2):
        sampler.set_epoch(number)
        chosen.append({index for index, _ in sampler if index >= 10})
    assert len(chosen[0]) == len(chosen[1]) == 10
    assert chosen[0] != chosen[1]


def test_epochs_and_seeds_differ_and_repeat() -> None:
    assert epoch(30, 1, 0) == epoch(30, 1, 0)
    assert epoch(30, 1, 0) != epoch(30, 1, 1)
    assert epoch(30, 1, 0) != epoch(30, 2, 0)
    seeds = [seed for number in range(3) for _, seed in epoch(30, 1, number)]
    assert len(set(seeds)) == len(seeds)


@given(length=st.integers(2, 30), others=st.integers(0, 9), world_size=st.integers(1, 3))
def test_images_come_in_proportion_to_their_factors(length: int, others: int, world_size: int) -> None:
    factors = np.ones(length)
    factors[0] = 2.0
    drawn: list[int] = []
    for rank in range(world_size):
        sampler = SeededSampler(
            length=length, seed=1, rank=rank, world_size=world_size, others=others, share=0.3, factors=factors
        )
        own = [index for index, _ in sampler]
        assert own == [index for index, _ in sampler]
        assert len(own) == len(sampler)
        drawn += own
    expected = factors * length / factors.sum()
    counts = np.bincount(drawn, minlength=length + others)
    assert (counts[:length] >= np.floor(expected)).all()
    assert counts[:length].sum() in range(length, length + world_size)
    # The others are drawn as without factors.
    plain = SeededSampler(length=length, seed=1, others=others, share=0.3)
    if world_size == 1:
        assert counts[length:].sum() == len(plain) - length
