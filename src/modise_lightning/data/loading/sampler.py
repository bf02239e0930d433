"""Gives images in a seeded order, each with a seed of its own for its augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from modise_lightning.data.loading.repeat_factors import draw_in_proportion


class SeededSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed) pairs that depend on the seed and the epoch alone.

    So an image's augmentation is the same whatever the number of workers, and after a resume. Over several
    processes every one gets the same number of images; the first ones of the order fill up the last round.
    """

    def __init__(
        self,
        *,
        length: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        others: int = 0,
        share: float = 0.0,
        factors: NDArray[np.float64] | None = None,
    ) -> None:
        """Set the order's seed and the process's share.

        Args:
            length: Number of images that every epoch has.
            seed: Of the order and of the images' seeds.
            rank: Index of this process.
            world_size: Number of processes.
            others: Number of images behind them, of which an epoch has some.
            share: Part of an epoch's images, in [0, 1), that is drawn from the others: each once before any
                of them comes again.
            factors: Of each of the images but the others, how often it comes, relative to each other; None:
                each once.
        """
        self.length = length
        self.others = others
        self.drawn = round(length * share / (1 - share)) if others else 0
        self.factors = factors
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of images that this process gets."""
        return -(-(self.length + self.drawn) // self.world_size)

    def times_an_epoch(self) -> list[float]:
        """Say how often an epoch shows each image on average, those of ``others`` at the end."""
        factors = np.ones(self.length) if self.factors is None else self.factors
        of_others = self.drawn / self.others if self.others else 0.0
        return [*(factors * (self.length / factors.sum())).tolist(), *[of_others] * self.others]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give this process's images of the epoch."""
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(self.length + self.drawn)
        images = np.arange(self.length)
        if self.drawn:
            rounds = [generator.permutation(self.others) for _ in range(-(-self.drawn // self.others))]
            images = np.concatenate([images, self.length + np.concatenate(rounds)[: self.drawn]])
        if self.factors is not None:
            images[: self.length] = draw_in_proportion(self.factors, generator)
        order = images[order]
        order = np.resize(order, len(self) * self.world_size)
        seeds = generator.integers(0, 2**62, size=len(order))
        for index, seed in zip(
            order[self.rank :: self.world_size], seeds[self.rank :: self.world_size], strict=True
        ):
            yield int(index), int(seed)
