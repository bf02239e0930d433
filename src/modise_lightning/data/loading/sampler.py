"""Gives images in a seeded order, each with a seed of its own for its augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class SeededSampler(Sampler[tuple[int, int]]):
    """Yields (index, seed) pairs that depend on the seed and the epoch alone.

    So an image's augmentation is the same whatever the number of workers, and after a resume. Over several
    processes every one gets the same number of images; the first ones of the order fill up the last round.
    """

    def __init__(self, *, length: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """Set the order's seed and the process's share.

        Args:
            length: Number of images.
            seed: Of the order and of the images' seeds.
            rank: Index of this process.
            world_size: Number of processes.
        """
        self.length = length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of images that this process gets."""
        return -(-self.length // self.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give this process's images of the epoch."""
        generator = np.random.default_rng([self.seed, self.epoch])
        order = np.resize(generator.permutation(self.length), len(self) * self.world_size)
        seeds = generator.integers(0, 2**62, size=len(order))
        for index, seed in zip(
            order[self.rank :: self.world_size], seeds[self.rank :: self.world_size], strict=True
        ):
            yield int(index), int(seed)
